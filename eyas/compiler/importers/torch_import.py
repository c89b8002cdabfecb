"""From a float PyTorch network and a few pictures to the quantised graph.

The network is traced with torch.export and calibrated here: activations asymmetric by their range
over the calibration pictures, weights symmetric per output channel.  Rounding follows TensorFlow
Lite, so that LiteRT's reference kernels compute the same integers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.export import ExportedProgram

from eyas.compiler.importers.quantize import (
    RangeObserver,
    activation_quantization,
    quantize_weights,
)
from eyas.compiler.importers.torch_layers import Convolution, FloatNetwork, Layer, Linear, Pool
from eyas.compiler.importers.torch_reader import UnsupportedError, read
from models.vision.graph import (
    AveragePool2D,
    Conv2D,
    FullyConnected,
    Graph,
    MaxPool2D,
    Node,
    Tensor,
    quantize,
)

__all__ = ["UnsupportedError", "from_exported", "from_module"]

Array = npt.NDArray[Any]
BATCH = 64
"""Calibration pictures at a time."""


def from_module(
    module: torch.nn.Module,
    example_input: torch.Tensor,
    calibration: Array,
    *,
    name: str | None = None,
    labels: Sequence[str] = (),
    preprocess: tuple[float, float] = (1 / 255, 0.0),
    percentile: float = 100.0,
) -> Graph:
    """Quantise a module in evaluation mode; its training mode is put back.

    Parameters
    ----------
    module : torch.nn.Module
        Convolutions, linear layers, batch norm, ReLU and its like, pools, flattening.
    example_input : torch.Tensor
        N × C × H × W, to trace the module with; its values do not matter.
    calibration : array
        See :func:`from_exported`, as for all that follows; ``name`` is the class's by default.
    """
    modes = {item: item.training for item in module.modules()}
    module.eval()
    try:
        program = torch.export.export(module, (example_input,))
    except Exception as error:
        # Whatever torch.export cannot trace, in any of its exception types, is the user's network.
        reason = str(error).strip().partition("\n")[0]
        raise UnsupportedError(f"torch.export cannot trace the network: {reason}") from error
    finally:
        for item, training in modes.items():
            item.training = training
    return from_exported(
        program,
        calibration,
        name=name or type(module).__name__,
        labels=labels,
        preprocess=preprocess,
        percentile=percentile,
    )


def from_exported(
    program: ExportedProgram,
    calibration: Array,
    *,
    name: str = "network",
    labels: Sequence[str] = (),
    preprocess: tuple[float, float] = (1 / 255, 0.0),
    percentile: float = 100.0,
) -> Graph:
    """Quantise what torch.export gave for a network in evaluation mode.

    Parameters
    ----------
    program : ExportedProgram
        Not decomposed: as ``torch.export.export`` returns it or ``torch.export.load`` reads it.
    calibration : array
        Some hundred typical pictures. uint8: raw pictures N × H × W × C (or N × H × W where C
        is 1), which ``preprocess`` makes real. Floating: what the module itself takes,
        N × C × H × W.
    name : str
        The graph's name.
    labels : sequence of str
        Class names, or none.
    preprocess : (float, float)
        Scale and offset of raw pictures: real value = uint8 · scale + offset. The graph keeps it.
    percentile : float
        Of the activations' values that must be represented; 100 is all.

    Returns
    -------
    Graph
        Tensors and nodes carry the modules' paths; the picture is ``input``. Softmax at the end is
        left out: the output is the logits.

    Raises
    ------
    UnsupportedError
        With one sentence that names the operator and the module.
    ValueError
        When the calibration pictures are not the network's.
    """
    network = read(program)
    pictures = _real_pictures(calibration, network, preprocess)
    ranges = _observe(network, pictures, percentile)
    if calibration.dtype == np.uint8:
        # Every raw picture lies in this range, whichever were given.
        scale, offset = preprocess
        ranges[network.input] = min(offset, 255 * scale + offset), max(offset, 255 * scale + offset)
    tensors = {network.input: _tensor(network.input, network.shape, *ranges[network.input])}
    for layer in network.layers:
        source = tensors[layer.input]
        if isinstance(layer, Pool):  # a pool moves values, it does not rescale them
            tensors[layer.name] = Tensor(layer.name, layer.shape, source.scale, source.zero_point)
        else:
            tensors[layer.name] = _tensor(layer.name, layer.shape, *ranges[layer.name])
    return Graph(
        name=name,
        tensors=tensors,
        nodes=tuple(_node(layer, tensors) for layer in network.layers),
        input=network.input,
        output=network.output,
        labels=tuple(labels),
        preprocess=preprocess,
    )


def _real_pictures(
    calibration: Array, network: FloatNetwork, preprocess: tuple[float, float]
) -> Array:
    """The calibration pictures as the module takes them: float32 N × C × H × W."""
    height, width, channels = network.shape
    if calibration.dtype == np.uint8:
        wanted: tuple[int, ...] = (height, width, channels)
        pictures = calibration
        if pictures.ndim == 3 and channels == 1:
            pictures = pictures[..., np.newaxis]
    elif calibration.dtype.kind == "f":
        wanted = (channels, height, width)
        pictures = calibration
    else:
        raise ValueError(f"Calibration pictures must be uint8 or floating, not {calibration.dtype}")
    if pictures.ndim != 4 or pictures.shape[1:] != wanted or len(pictures) == 0:
        raise ValueError(
            f"Calibration pictures of type {calibration.dtype} must have the shape "
            f"N × {' × '.join(map(str, wanted))}, not {' × '.join(map(str, calibration.shape))}"
        )
    if calibration.dtype == np.uint8:
        scale, offset = preprocess
        real = pictures.astype(np.float32) * np.float32(scale) + np.float32(offset)
        return np.ascontiguousarray(real.transpose(0, 3, 1, 2))
    if not np.isfinite(pictures).all():
        raise ValueError("Calibration pictures hold values that are not finite")
    return pictures.astype(np.float32)


def _observe(
    network: FloatNetwork, pictures: Array, percentile: float
) -> dict[str, tuple[float, float]]:
    """The range of every tensor's real values."""
    observers = {item.name: RangeObserver(percentile) for item in network.layers}
    observers[network.input] = RangeObserver(percentile)
    for start in range(0, len(pictures), BATCH):
        for name, values in network.run(torch.from_numpy(pictures[start : start + BATCH])):
            observers[name].observe(values.numpy())
    ranges = {name: observer.range() for name, observer in observers.items()}
    for name, bounds in ranges.items():
        if not all(map(math.isfinite, bounds)):
            raise ValueError(f"The values of {name!r} are not finite on the calibration pictures")
    return ranges


def _tensor(name: str, shape: tuple[int, int, int], low: float, high: float) -> Tensor:
    scale, zero_point = activation_quantization(low, high)
    return Tensor(name, shape, scale, zero_point)


def _node(layer: Layer, tensors: dict[str, Tensor]) -> Node:
    source, target = tensors[layer.input], tensors[layer.name]
    low, high = quantize(np.array([layer.low, layer.high]), target.scale, target.zero_point)
    common: dict[str, Any] = {
        "name": layer.name,
        "input": layer.input,
        "output": layer.name,
        "activation_min": int(low),
        "activation_max": int(high),
    }
    if isinstance(layer, Pool):
        kind = AveragePool2D if layer.average else MaxPool2D
        return kind(window=layer.window, stride=layer.stride, padding=layer.padding, **common)
    if isinstance(layer, Convolution):
        rows = layer.weights.permute(0, 2, 3, 1)  # O, KH, KW, I
    elif isinstance(layer, Linear):
        height, width, channels = layer.input_shape
        rows = layer.weights.reshape(-1, channels, height, width).permute(0, 2, 3, 1).flatten(1)
    else:
        raise TypeError(f"There is no quantised form of {type(layer).__name__}")
    weights, bias, scales = quantize_weights(rows.numpy(), layer.bias.numpy(), source.scale)
    common |= {"weights": weights, "bias": bias, "weight_scales": scales}
    if isinstance(layer, Convolution):
        return Conv2D(stride=layer.stride, padding=layer.padding, **common)
    return FullyConnected(**common)
