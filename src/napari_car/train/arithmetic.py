"""In which numbers to train: bfloat16 where the hardware computes in it."""

from __future__ import annotations

import torch


def fast_dtype(device: torch.device) -> torch.dtype:
    """bfloat16 on GPUs and processors with AVX-512, else float32: elsewhere PyTorch's bfloat16 is ten times as slow."""
    if device.type == "cpu" and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return torch.float32
    return torch.bfloat16
