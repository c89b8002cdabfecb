"""What each operator of a ``.tflite`` file becomes; what it must not have is refused by name."""

from __future__ import annotations

import math
from collections.abc import Callable

import tflite

from eyas.compiler.importers.tflite_file import NO_TENSOR
from eyas.compiler.importers.tflite_forms import (
    activation_fields,
    linear_fields,
    name_fields,
    weight_tensor,
    window_fields,
)
from eyas.compiler.importers.tflite_maps import shape_text
from eyas.compiler.importers.tflite_step import Step
from models.vision.graph import (
    SOFTMAX_CLASSES_MAX,
    SOFTMAX_SCALE,
    SOFTMAX_ZERO_POINT,
    Add,
    AveragePool2D,
    Conv2D,
    DepthwiseConv2D,
    FullyConnected,
    MaxPool2D,
    Mean,
    Pad,
    Requantize,
)

__all__ = ["OPERATORS", "VERSIONS"]

VERSIONS: dict[str, frozenset[int]] = {
    "ADD": frozenset({1, 2}),
    "AVERAGE_POOL_2D": frozenset({1, 2}),
    "CONV_2D": frozenset({1, 2, 3}),
    "DEPTHWISE_CONV_2D": frozenset({1, 2, 3}),
    # 7 to 11 are int16, sparse, asymmetric hybrid, int4 and int16 again.
    "FULLY_CONNECTED": frozenset({1, 2, 3, 4, 5, 6, 12}),
    "MAX_POOL_2D": frozenset({1, 2}),
    "MEAN": frozenset({1, 2}),
    "PAD": frozenset({1, 2}),
    "PADV2": frozenset({1, 2}),
    "QUANTIZE": frozenset({1, 2}),
    "RELU": frozenset({1, 2}),
    "RELU6": frozenset({1, 2}),
    "RELU_N1_TO_1": frozenset({1}),
    "RESHAPE": frozenset({1}),
    "SOFTMAX": frozenset({1, 2}),
    "SQUEEZE": frozenset({1}),
}
"""Versions whose int8 form is the one that is read here; a later one may mean something else."""


def _conv2d(step: Step) -> None:
    picture, kernels, bias = step.operands(2, 3)
    source, tensor = step.map(picture), weight_tensor(step, kernels, 4, 0)
    channels, height, width, inputs = tensor.shape
    if inputs != source.shape[2]:
        raise step.refuse(
            f"weights for {inputs} input channels read a map of {source.shape[2]}; Eyas runs no "
            "grouped convolutions"
        )
    window = window_fields(step, source, (height, width))
    values = tensor.values()
    target = step.result()
    step.add(
        Conv2D(
            **name_fields(source, target),
            **activation_fields(step, target),
            **window,
            **linear_fields(step, tensor, channels, bias),
            weights=values,
        )
    )


def _depthwise_conv2d(step: Step) -> None:
    picture, kernels, bias = step.operands(2, 3)
    source, tensor = step.map(picture), weight_tensor(step, kernels, 4, 3)
    one, height, width, channels = tensor.shape
    multiplier = step.operator.options["DepthMultiplier"]
    if one != 1 or channels != multiplier * source.shape[2]:
        raise step.refuse(
            f"weights of shape {list(tensor.shape)} do not fit {source.shape[2]} input channels "
            f"and a multiplier of {multiplier}"
        )
    window = window_fields(step, source, (height, width))
    values = tensor.values()
    target = step.result()
    step.add(
        DepthwiseConv2D(
            **name_fields(source, target),
            **activation_fields(step, target),
            **window,
            **linear_fields(step, tensor, channels, bias),
            weights=values[0].transpose(2, 0, 1),
            multiplier=multiplier,
        )
    )


def _fully_connected(step: Step) -> None:
    vector, rows, bias = step.operands(2, 3)
    source, tensor = step.dense(vector), weight_tensor(step, rows, 2, 0)
    if step.operator.options["WeightsFormat"] != tflite.FullyConnectedOptionsWeightsFormat.DEFAULT:
        raise step.refuse("its weights are shuffled; Eyas takes them in their plain order")
    channels, inputs = tensor.shape
    if inputs != source.size:
        raise step.refuse(f"weights for {inputs} inputs read {source.size} values")
    values = tensor.values()
    target = step.result((1, 1, channels))
    step.add(
        FullyConnected(
            **name_fields(source, target),
            **activation_fields(step, target),
            **linear_fields(step, tensor, channels, bias),
            weights=values,
        )
    )


def _pool(kind: type[AveragePool2D] | type[MaxPool2D]) -> Callable[[Step], None]:
    def read(step: Step) -> None:
        source = step.map(*step.operands(1))
        options = step.operator.options
        window = options["FilterHeight"], options["FilterWidth"]
        sliding = window_fields(step, source, window)
        target = step.result()
        step.add(
            kind(
                **name_fields(source, target),
                **activation_fields(step, target),
                **sliding,
                window=window,
            )
        )

    return read


def _add(step: Step) -> None:
    first, second = (step.map(index) for index in step.operands(2))
    if first.shape != second.shape:
        raise step.refuse(
            f"adds maps of the shapes {first.shape} and {second.shape}; Eyas does not broadcast"
        )
    target = step.result()
    step.add(
        Add(**name_fields(first, target), **activation_fields(step, target), other=second.name)
    )


def _pad(step: Step) -> None:
    value = NO_TENSOR
    if step.operator.code == "PADV2":
        picture, margins, value = step.operands(3)
    else:
        picture, margins = step.operands(2)
    source = step.map(picture)
    amounts = step.constant(margins, "amounts", "INT32")
    if amounts.shape != (4, 2):
        raise step.refuse(f"its amounts have the shape {list(amounts.shape)}, not [4, 2]")
    batch, rows, columns, channels = amounts.values().tolist()
    if any((*batch, *channels)):
        raise step.refuse("pads batch or channels; Eyas pads height and width")
    if value != NO_TENSOR:
        filling = step.constant(value, "values", "INT8").values().ravel().tolist()
        if filling != [source.zero_point]:
            raise step.refuse(f"pads with {filling}; Eyas pads with the zero point")
    target = step.result()
    step.add(Pad(**name_fields(source, target), padding=(*rows, *columns)))


def _mean(step: Step) -> None:
    picture, axes = step.operands(2)
    source, tensor = step.map(picture), step.constant(axes, "axes", "INT32")
    rank = len(step.network.model.tensors[picture].shape)
    values = tensor.values().ravel().tolist()
    if rank != 4 or sorted({axis + 4 if axis < 0 else axis for axis in values}) != [1, 2]:
        raise step.refuse(f"takes the mean over the axes {values}; Eyas has height and width")
    target = step.result()
    step.add(Mean(**name_fields(source, target)))


def _requantize(step: Step) -> None:
    source = step.map(*step.operands(1))
    target = step.result()
    if source.shape != target.shape:
        raise step.damaged(f"makes {target.shape} of {source.shape}")
    relu = step.operator.code != "QUANTIZE"
    step.add(
        Requantize(
            **name_fields(source, target),
            **activation_fields(step, target, step.operator.code if relu else "NONE"),
            float32_ratio=relu,  # TensorFlow Lite's kernels differ in this
        )
    )


def _reshape(step: Step) -> None:
    source, shape = step.operands(1, 2)
    if shape != NO_TENSOR:
        step.constant(shape, "dimensions", "INT32")  # the output's own shape says the same
    step.alias(source)


def _softmax(step: Step) -> None:
    network, beta = step.network, step.operator.options["Beta"]
    (index,) = step.operands(1)
    logits = step.map(index)
    last = network.model.operators[-1] is step.operator
    if not last or step.operator.outputs != (network.model.output,):
        raise step.refuse("a softmax may only stand at the network's end")
    probabilities = step.result()  # computed by the driver, not by the engine
    if logits.shape[:2] != (1, 1) or probabilities.shape != logits.shape:
        raise step.refuse(
            f"makes {shape_text(probabilities.shape)} of {shape_text(logits.shape)}; Eyas computes "
            "the softmax of one vector, 1 × classes"
        )
    if logits.shape[2] > SOFTMAX_CLASSES_MAX:
        raise step.refuse(
            f"has {logits.shape[2]} classes; Eyas takes at most {SOFTMAX_CLASSES_MAX}"
        )
    if not (math.isfinite(beta) and beta * logits.scale > 2**-26):
        raise step.refuse(
            f"its beta is {beta:g}; beta times the logits' scale, {logits.scale:g}, must be finite "
            "and more than 2^-26"
        )
    if (probabilities.scale, probabilities.zero_point) != (SOFTMAX_SCALE, SOFTMAX_ZERO_POINT):
        raise step.refuse(
            f"its output must have scale 1/256 and zero point -128, not {probabilities.scale:g} "
            f"and {probabilities.zero_point}"
        )
    network.softmax, network.softmax_beta = probabilities, beta
    network.views[network.model.output] = logits.name


OPERATORS: dict[str, Callable[[Step], None]] = {
    "ADD": _add,
    "AVERAGE_POOL_2D": _pool(AveragePool2D),
    "CONV_2D": _conv2d,
    "DEPTHWISE_CONV_2D": _depthwise_conv2d,
    "FULLY_CONNECTED": _fully_connected,
    "MAX_POOL_2D": _pool(MaxPool2D),
    "MEAN": _mean,
    "PAD": _pad,
    "PADV2": _pad,
    "QUANTIZE": _requantize,
    "RELU": _requantize,
    "RELU6": _requantize,
    "RELU_N1_TO_1": _requantize,
    "RESHAPE": _reshape,
    "SOFTMAX": _softmax,
    "SQUEEZE": _reshape,
}
"""Operator to what reads it."""
