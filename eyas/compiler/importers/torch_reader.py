"""Reads the layers out of a torch.export program, or says what stands in the way."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, fx
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind

from eyas.compiler.importers.torch_layers import (
    Convolution,
    FloatNetwork,
    Layer,
    Linear,
    Pool,
    Shape,
)

__all__ = ["UnsupportedError", "read"]

INPUT = "input"
"""Name of the picture's tensor."""


class UnsupportedError(ValueError):
    """The network holds what cannot be compiled; one sentence says what and where."""


class _Value(NamedTuple):
    """What a node of the program gives, as far as the layers know it."""

    tensor: str
    shape: Shape
    flat: bool
    """The program sees N × (C·H·W) instead of N × C × H × W."""
    shared: bool
    """Something else reads the same values: they must not be changed in place."""


def read(program: ExportedProgram) -> FloatNetwork:
    """The program's layers, batch norm folded and activations fused, softmax at the end dropped.

    Raises
    ------
    UnsupportedError
        For anything else than convolutions, linear layers, pools and what folds into them.
    """
    for node in program.graph.nodes:
        if str(node.target) == "aten.batch_norm.default" and _arguments(node)["training"]:
            raise _unsupported(node, "export the network in evaluation mode (module.eval())")
    reader = _Reader(program)
    for node in program.graph.nodes:
        if node.op == "call_function":
            reader.call(node)
    return reader.finish()


class _Reader:
    def __init__(self, program: ExportedProgram):
        self.constants: dict[str, Tensor] = {}
        self.values: dict[fx.Node, _Value] = {}
        self.layers: dict[str, Layer] = {}
        nodes = {node.name: node for node in program.graph.nodes}
        inputs: list[fx.Node] = []
        for item in program.graph_signature.input_specs:
            if item.kind == InputKind.USER_INPUT:
                inputs.append(nodes[item.arg.name])
            elif item.target in program.state_dict:
                self.constants[item.arg.name] = program.state_dict[item.target].detach()
            elif isinstance(program.constants.get(item.target or ""), Tensor):
                self.constants[item.arg.name] = program.constants[item.target].detach()
        if len(inputs) != 1:
            raise UnsupportedError(f"The network takes {len(inputs)} inputs, it must take one")
        sizes = _sizes(inputs[0])
        if len(sizes) != 4:
            raise UnsupportedError(
                f"The network's input has {len(sizes)} dimensions, it must have four: N × C × H × W"
            )
        self.shape = (sizes[2], sizes[3], sizes[1])
        self.values[inputs[0]] = _Value(INPUT, self.shape, False, _readers(inputs[0]) > 1)
        self.program_output = nodes[_output_name(program)]

    def call(self, node: fx.Node) -> None:
        if not isinstance(node.meta.get("val"), Tensor):
            return  # sizes and assertions about them
        handler = HANDLERS.get(str(node.target))
        if handler is None:
            raise _unsupported(node)
        handler(self, node, _arguments(node))

    def finish(self) -> FloatNetwork:
        value = self.values.get(self.program_output)
        if value is None or not self.layers or value.tensor == INPUT:
            raise UnsupportedError("The network's output comes from no layer")
        return FloatNetwork(
            input=INPUT, shape=self.shape, layers=list(self.layers.values()), output=value.tensor
        )

    # What handlers ask for.

    def source(self, node: fx.Node, argument: object, *, flat: bool = False) -> _Value:
        """The value that ``argument`` names, as a map or flattened."""
        if not isinstance(argument, fx.Node) or argument not in self.values:
            raise _unsupported(node, "it works on constants")
        value = self.values[argument]
        if value.flat != flat and value.shape[:2] != (1, 1):
            raise _unsupported(
                node, f"its input must be {'flattened' if flat else 'N × C × H × W'}"
            )
        return value

    def constant(self, node: fx.Node, argument: object, absent: Tensor) -> Tensor:
        """A weight; ``absent`` where the argument is None."""
        if argument is None:
            return absent
        if not isinstance(argument, fx.Node) or argument.name not in self.constants:
            raise _unsupported(node, "its weights must be constants")
        return self.constants[argument.name].float()

    def enter(self, node: fx.Node, make: Callable[..., Layer], flat: bool, **values: Any) -> None:
        """Append a layer that ends in ``node``."""
        base = _path(node) or node.name
        name, count = base, 2
        while name in self.layers or name == INPUT:
            name, count = f"{base}_{count}", count + 1
        self.layers[name] = layer = make(name=name, **values)
        self.values[node] = _Value(name, layer.shape, flat, _readers(node) > 1)

    def pass_on(self, node: fx.Node, value: _Value, flat: bool) -> None:
        """Let ``node`` be another view of ``value``."""
        shared = value.shared or _readers(node) > 1
        self.values[node] = value._replace(flat=flat, shared=shared)

    def producer(self, node: fx.Node, argument: object) -> Layer:
        """The layer whose output only ``node`` reads, so that ``node`` can be fused into it."""
        if not isinstance(argument, fx.Node) or argument not in self.values:
            raise _unsupported(node, "it works on constants")
        value = self.values[argument]
        if value.tensor == INPUT:
            raise _unsupported(node, "no layer stands before it")
        if value.shared:
            raise _unsupported(node, f"the output of {value.tensor!r} is used elsewhere too")
        return self.layers[value.tensor]


def _output_name(program: ExportedProgram) -> str:
    outputs = program.graph_signature.user_outputs
    if len(outputs) != 1 or not isinstance(outputs[0], str):
        raise UnsupportedError(f"The network gives {len(outputs)} outputs, it must give one")
    return outputs[0]


def _sizes(node: fx.Node) -> tuple[int, ...]:
    """The sizes of a node's tensor; the first is the batch's and may not be a number."""
    return tuple(node.meta["val"].shape)


def _readers(node: fx.Node) -> int:
    """How many nodes read a node's values, and not only its size."""
    return sum(
        1 for user in node.users if user.op == "output" or isinstance(user.meta.get("val"), Tensor)
    )


def _path(node: fx.Node) -> str:
    """The module that the node belongs to, such as ``features.3``; empty for the network's own."""
    stack = node.meta.get("nn_module_stack") or {}
    return str(list(stack.values())[-1][0]) if stack else ""


def _unsupported(node: fx.Node, reason: str = "") -> UnsupportedError:
    stack = node.meta.get("nn_module_stack") or {}
    place = ""
    if stack:
        path, kind = list(stack.values())[-1]
        kind = (kind if isinstance(kind, str) else kind.__name__).rpartition(".")[2]
        place = f" at {path!r} ({kind})" if path else f" in the network's own forward ({kind})"
    return UnsupportedError(
        f"{node.target}{place} is not supported{': ' if reason else ''}{reason}"
    )


def _arguments(node: fx.Node) -> dict[str, Any]:
    """The operator's arguments by name, with its defaults for those not given."""
    schema = node.target._schema.arguments  # type: ignore[union-attr]
    values = {item.name: item.default_value for item in schema}
    values.update(zip((item.name for item in schema), node.args, strict=False))
    values.update(node.kwargs)
    return values


def _pair(value: Any) -> tuple[int, int]:
    items = [value] if isinstance(value, int) else list(value)
    return (items[0], items[0]) if len(items) == 1 else (items[0], items[1])


def _output_shape(node: fx.Node) -> Shape:
    _, channels, height, width = _sizes(node)
    return height, width, channels


# One handler an operator.


def _convolution(reader: _Reader, node: fx.Node, given: dict[str, Any]) -> None:
    value = reader.source(node, given["input"])
    if given["groups"] != 1:
        raise _unsupported(node, f"groups must be 1, not {given['groups']}")
    if _pair(given["dilation"]) != (1, 1):
        raise _unsupported(node, f"dilation must be 1, not {given['dilation']}")
    absent = torch.zeros(_sizes(node)[1])
    weights = reader.constant(node, given["weight"], absent)
    stride, padding = _pair(given["stride"]), given["padding"]
    if padding == "same":
        # torch has an odd one at the end, and allows it at stride 1 only.
        totals = [size - 1 for size in weights.shape[2:]]
        margins = (totals[0] // 2, -(-totals[0] // 2), totals[1] // 2, -(-totals[1] // 2))
    elif padding == "valid":
        margins = (0, 0, 0, 0)
    else:
        rows, columns = _pair(padding)
        margins = (rows, rows, columns, columns)
    if any(side >= size for side, size in zip(
        margins, (*[weights.shape[2]] * 2, *[weights.shape[3]] * 2), strict=True
    )):  # fmt: skip
        raise _unsupported(node, f"padding {padding} must be smaller than the kernel")
    reader.enter(
        node, Convolution, False, input=value.tensor, shape=_output_shape(node), weights=weights,
        bias=reader.constant(node, given["bias"], absent), stride=stride, padding=margins,
    )  # fmt: skip


def _linear(reader: _Reader, node: fx.Node, given: dict[str, Any]) -> None:
    if len(_sizes(node)) != 2:
        raise _unsupported(node, "its input must be flattened")
    value = reader.source(node, given["input"], flat=True)
    outputs = _sizes(node)[1]
    absent = torch.zeros(outputs)
    reader.enter(
        node, Linear, True, input=value.tensor, shape=(1, 1, outputs), input_shape=value.shape,
        weights=reader.constant(node, given["weight"], absent),
        bias=reader.constant(node, given["bias"], absent),
    )  # fmt: skip


def _batch_norm(reader: _Reader, node: fx.Node, given: dict[str, Any]) -> None:
    layer = reader.producer(node, given["input"])
    if not isinstance(layer, (Convolution, Linear)) or (layer.low, layer.high) != (
        -math.inf,
        math.inf,
    ):
        raise _unsupported(node, "it must follow a convolution or a linear layer directly")
    channels = layer.shape[2]
    ones, zeros = torch.ones(channels), torch.zeros(channels)
    layer.fold_batch_norm(
        reader.constant(node, given["weight"], ones),
        reader.constant(node, given["bias"], zeros),
        reader.constant(node, given["running_mean"], zeros),
        reader.constant(node, given["running_var"], ones),
        given["eps"],
    )
    value = reader.values[given["input"]]
    reader.pass_on(node, value, value.flat)


def _clamp(low: object, high: object) -> Callable[[_Reader, fx.Node, dict[str, Any]], None]:
    """A handler of an activation; a bound is a number or names the argument that holds it."""

    def bound(given: dict[str, Any], item: object, absent: float) -> float:
        value = given[item] if isinstance(item, str) else item
        return absent if value is None else float(value)  # type: ignore[arg-type]

    def handler(reader: _Reader, node: fx.Node, given: dict[str, Any]) -> None:
        source = given["self"]
        layer = reader.producer(node, source)
        layer.fuse_activation(bound(given, low, -math.inf), bound(given, high, math.inf))
        value = reader.values[source]
        reader.pass_on(node, value, value.flat)

    return handler


def _max_pool(reader: _Reader, node: fx.Node, given: dict[str, Any]) -> None:
    if _pair(given["dilation"]) != (1, 1):
        raise _unsupported(node, f"dilation must be 1, not {given['dilation']}")
    rows, columns = _pair(given["padding"])
    _pool(reader, node, given, average=False, padding=(rows, rows, columns, columns))


def _average_pool(reader: _Reader, node: fx.Node, given: dict[str, Any]) -> None:
    if _pair(given["padding"]) != (0, 0):
        raise _unsupported(node, f"padding must be 0, not {given['padding']}")
    if given["divisor_override"] is not None:
        raise _unsupported(node, "it has a divisor of its own")
    _pool(reader, node, given, average=True, padding=(0, 0, 0, 0))


def _pool(
    reader: _Reader, node: fx.Node, given: dict[str, Any], average: bool, padding: tuple[int, ...]
) -> None:
    value = reader.source(node, given["self"])
    window = _pair(given["kernel_size"])
    stride = _pair(given["stride"]) if given["stride"] else window
    height = (value.shape[0] + padding[0] + padding[1] - window[0]) // stride[0] + 1
    width = (value.shape[1] + padding[2] + padding[3] - window[1]) // stride[1] + 1
    if (height, width) != _output_shape(node)[:2]:
        raise _unsupported(node, "ceil_mode must be False where the window does not fit evenly")
    reader.enter(
        node, Pool, False, input=value.tensor, shape=_output_shape(node), average=average,
        window=window, stride=stride, padding=padding,
    )  # fmt: skip


def _adaptive_average_pool(reader: _Reader, node: fx.Node, given: dict[str, Any]) -> None:
    value = reader.source(node, given["self"])
    height, width, _ = _output_shape(node)
    if value.shape[0] % height or value.shape[1] % width:
        raise _unsupported(
            node, f"a map of {value.shape[0]} × {value.shape[1]} does not divide evenly into "
            f"{height} × {width}"
        )  # fmt: skip
    window = value.shape[0] // height, value.shape[1] // width
    reader.enter(
        node, Pool, False, input=value.tensor, shape=_output_shape(node), average=True,
        window=window, stride=window,
    )  # fmt: skip


def _mean(reader: _Reader, node: fx.Node, given: dict[str, Any]) -> None:
    value = reader.source(node, given["self"])
    if sorted(axis % 4 for axis in given["dim"] or ()) != [2, 3]:
        raise _unsupported(node, f"the mean must be over height and width, not {given['dim']}")
    reader.enter(
        node, Pool, not given["keepdim"], input=value.tensor, shape=(1, 1, value.shape[2]),
        average=True, window=value.shape[:2], stride=value.shape[:2],
    )  # fmt: skip


def _reshape(reader: _Reader, node: fx.Node, given: dict[str, Any]) -> None:
    source = given["self"]
    if not isinstance(source, fx.Node) or source not in reader.values:
        raise _unsupported(node, "it works on constants")
    value = reader.values[source]
    height, width, channels = value.shape
    before, after = _sizes(source), _sizes(node)
    if before[0] != after[0] or after[1:] not in (
        (height * width * channels,),
        (channels, height, width),
    ):
        raise _unsupported(node, "only a flattening to one dimension a picture is")
    reader.pass_on(node, value, len(after) == 2)


def _identity(reader: _Reader, node: fx.Node, given: dict[str, Any]) -> None:
    source = next(iter(given.values()))
    if not isinstance(source, fx.Node) or source not in reader.values:
        raise _unsupported(node, "it works on constants")
    reader.pass_on(node, reader.values[source], reader.values[source].flat)


def _softmax(reader: _Reader, node: fx.Node, given: dict[str, Any]) -> None:
    if node is not reader.program_output:
        raise _unsupported(node, "it may only stand at the end, where it is left out")
    _identity(reader, node, given)


HANDLERS: dict[str, Callable[[_Reader, fx.Node, dict[str, Any]], None]] = {
    "aten.conv2d.default": _convolution,
    "aten.conv2d.padding": _convolution,
    "aten.linear.default": _linear,
    "aten.batch_norm.default": _batch_norm,
    "aten.relu.default": _clamp(0, None),
    "aten.relu_.default": _clamp(0, None),
    "aten.relu6.default": _clamp(0, 6),
    "aten.relu6_.default": _clamp(0, 6),
    "aten.hardtanh.default": _clamp("min_val", "max_val"),
    "aten.hardtanh_.default": _clamp("min_val", "max_val"),
    "aten.clamp.default": _clamp("min", "max"),
    "aten.clamp_.default": _clamp("min", "max"),
    "aten.clamp_min.default": _clamp("min", None),
    "aten.max_pool2d.default": _max_pool,
    "aten.avg_pool2d.default": _average_pool,
    "aten.adaptive_avg_pool2d.default": _adaptive_average_pool,
    "aten.mean.dim": _mean,
    "aten.flatten.using_ints": _reshape,
    "aten.reshape.default": _reshape,
    "aten.view.default": _reshape,
    "aten.squeeze.dims": _reshape,
    "aten.squeeze.dim": _reshape,
    "aten.unsqueeze.default": _reshape,
    "aten.dropout.default": _identity,
    "aten.dropout_.default": _identity,
    "aten.feature_dropout.default": _identity,
    "aten.contiguous.default": _identity,
    "aten.clone.default": _identity,
    "aten.softmax.int": _softmax,
    "aten.log_softmax.int": _softmax,
}
"""By the operator's name in torch.export's own dialect."""
