"""Training, export and quantization of the networks: the optional extra ``napari-car[train]``.

One noun a file: ``networks`` (what is trained), ``degradation`` (what JPEG does to a picture), ``pool`` (pictures to
patches), ``muon`` (the optimizer), ``recipe`` (what to train and for how long), ``fit`` (the loop), ``graph`` (networks
as ONNX), ``quantization`` (int8), ``export`` (checkpoint to model folder). The only place that imports torch.
"""
