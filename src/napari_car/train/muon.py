"""Muon: momentum whose step is made orthogonal; it trains these networks several times as fast as Adam."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from napari_car.train.arithmetic import fast_dtype


class Muon(torch.optim.Optimizer):
    """Momentum orthogonalised by Newton-Schulz iterations, for convolution weights seen as (out, in·k·k) matrices.

    Source: Jordan et al., "Muon: An optimizer for hidden layers in neural networks" (2024); the step is scaled by
    sqrt(max(1, rows / columns)).

    Parameters
    ----------
    params
        Weights of two or more dimensions.
    lr
        Learning rate; 0.01 works for all networks here, 0.03 diverges.
    momentum
        Of the running gradient, Nesterov style.
    """

    def __init__(self, params: Iterable[Tensor], lr: float = 0.01, momentum: float = 0.95) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """Take one step; weights of one shape are orthogonalised together."""
        for group in self.param_groups:
            weights = [weight for weight in group["params"] if weight.grad is not None]
            gradients = [weight.grad for weight in weights]
            momenta = [_momentum(self.state[weight], weight) for weight in weights]
            torch._foreach_lerp_(momenta, gradients, 1 - group["momentum"])
            updates = torch._foreach_lerp(gradients, momenta, group["momentum"])
            by_shape: dict[tuple[int, int], list[tuple[Tensor, Tensor]]] = defaultdict(list)
            for weight, update in zip(weights, updates, strict=True):
                by_shape[len(weight), weight[0].numel()].append((weight, update.flatten(1)))
            for (rows, columns), members in by_shape.items():
                steps = orthogonalise(torch.stack([update for _, update in members]))
                rate = group["lr"] * max(1.0, rows / columns) ** 0.5
                moved = [step.view_as(weight) for (weight, _), step in zip(members, steps, strict=True)]
                torch._foreach_add_([weight for weight, _ in members], moved, alpha=-rate)


def _momentum(state: dict[str, Tensor], weight: Tensor) -> Tensor:
    """The running gradient of a weight, zero at first."""
    if "momentum" not in state:
        state["momentum"] = torch.zeros_like(weight)
    return state["momentum"]


def orthogonalise(matrices: Tensor, iterations: int = 5) -> Tensor:
    """Bring the singular values of each matrix of a stack (N, rows, columns) near 1, roughly: bfloat16 will do.

    Source: the quintic Newton-Schulz iteration with coefficients (3.4445, -4.7750, 2.0315) of the Muon report.
    """
    a, b, c = 3.4445, -4.7750, 2.0315
    is_tall = matrices.shape[1] > matrices.shape[2]
    x = (matrices.mT if is_tall else matrices).to(fast_dtype(matrices.device))
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(iterations):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    result: Tensor = (x.mT if is_tall else x).to(matrices.dtype)
    return result
