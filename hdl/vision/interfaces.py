"""Ports between the compute engine and the overlay's front end."""

from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from eyas.interfaces.vision.config import VisionConfig
from eyas.interfaces.vision.isa import PARAMETER
from eyas.interfaces.vision.records import DESCRIPTOR, RESULT
from eyas.interfaces.vision.registers import VISION_REGISTERS
from hdl.parts.layout import field_shape

__all__ = [
    "ActivationReadPort",
    "EnginePort",
    "InstructionWritePort",
    "ParameterWritePort",
    "WeightWritePort",
    "activation_write_layout",
    "finish_layout",
    "parameter_layout",
    "start_layout",
]


def start_layout(config: VisionConfig) -> data.StructLayout:
    """Payload of :attr:`EnginePort.start`: which program to run.

    The bases are those of the program's slot.  With ``probe`` the engine stops behind the layer
    numbered ``probe_layer`` and reports the end of the program there.
    """
    return data.StructLayout(
        {
            "instruction_base": ceil_log2(config.instruction_words),
            "weight_base": ceil_log2(config.weight_rows),
            "parameter_base": ceil_log2(config.parameter_rows),
            "probe": 1,
            "probe_layer": field_shape(DESCRIPTOR, "probe_layer"),
        }
    )


finish_layout = data.StructLayout({name: field_shape(RESULT, name) for name in ("code", "layer")})
"""Payload of :attr:`EnginePort.finish`: an ErrorCode and the layer that ran last."""

parameter_layout = data.StructLayout(
    {field.name: field_shape(PARAMETER, field.name) for field in PARAMETER.fields}
)
"""One channel's requantisation parameters as they stand in parameter memory: PARAMETER's fields
without the gaps between them, 73 bits."""


def activation_write_layout(config: VisionConfig) -> data.StructLayout:
    """Payload of :attr:`EnginePort.load`: one word of the activation memory."""
    return data.StructLayout(
        {
            "bank": max(1, ceil_log2(config.pixels)),
            "address": ceil_log2(config.bank_words),
            "data": config.word_bits,
        }
    )


class InstructionWritePort(wiring.Signature):
    """Write port of the instruction memory: one 64-bit word a cycle, no back-pressure."""

    def __init__(self, config: VisionConfig):
        super().__init__(
            {
                "enable": Out(1),
                "address": Out(ceil_log2(config.instruction_words)),
                "data": Out(64),
            }
        )


class WeightWritePort(wiring.Signature):
    """Write port of the weight memory: one output channel's word a cycle, no back-pressure.

    ``column`` is the output channel in the row, ``data`` its ``input_channels`` int8 weights.
    """

    def __init__(self, config: VisionConfig):
        super().__init__(
            {
                "enable": Out(1),
                "row": Out(ceil_log2(config.weight_rows)),
                "column": Out(ceil_log2(config.output_channels)),
                "data": Out(config.word_bits),
            }
        )


class ParameterWritePort(wiring.Signature):
    """Write port of the parameter memory: one channel's parameters a cycle, no back-pressure."""

    def __init__(self, config: VisionConfig):
        super().__init__(
            {
                "enable": Out(1),
                "row": Out(ceil_log2(config.parameter_rows)),
                "column": Out(max(1, ceil_log2(config.requantize_channels))),
                "data": Out(parameter_layout),
            }
        )


class ActivationReadPort(wiring.Signature):
    """Read port of the activation memory for the output's way to DRAM.

    Usable only while the engine runs no program.  ``data`` belongs to the ``bank`` and
    ``address`` of three cycles before, whether or not the reader takes it; there is no
    back-pressure: whoever reads keeps room for the words under way.
    """

    latency = 3

    def __init__(self, config: VisionConfig):
        super().__init__(
            {
                "bank": Out(max(1, ceil_log2(config.pixels))),
                "address": Out(ceil_log2(config.bank_words)),
                "data": In(config.word_bits),
            }
        )


class EnginePort(wiring.Signature):
    """Everything the front end uses of the engine, seen from the front end.

    Members
    -------
    start
        Runs a program; taken only when the engine is idle. The input map must be complete.
    finish
        One item for each start: the program ended, its output map is complete.
    release_input
        One-cycle pulse: nothing that still runs reads or writes the input map's region.
    abort
        While high the engine forgets what it runs and goes idle; it gives no ``finish``.
    load
        Words of the next picture; ready whenever the bank's write port is free.
    store
        Reads the output map.
    instruction_write, weight_write, parameter_write
        Program memories; written only while the engine is idle.
    running, array_active
        For the counters: a program runs; the array takes a pass in this cycle.
    layer_select
        A layer's number.
    layer_cycles, layer_array_cycles, layer_requantize_cycles, layer_drain_cycles,
    layer_table_cycles
        Its counters in the last run, two cycles after ``layer_select`` changes.
    """

    def __init__(self, config: VisionConfig):
        super().__init__(
            {
                "start": Out(stream.Signature(start_layout(config))),
                "finish": In(stream.Signature(finish_layout)),
                "release_input": In(1),
                "abort": Out(1),
                "load": Out(stream.Signature(activation_write_layout(config))),
                "store": Out(ActivationReadPort(config)),
                "instruction_write": Out(InstructionWritePort(config)),
                "weight_write": Out(WeightWritePort(config)),
                "parameter_write": Out(ParameterWritePort(config)),
                "running": In(1),
                "array_active": In(1),
                "layer_select": Out(field_shape(VISION_REGISTERS["layer_select"], "layer")),
                "layer_cycles": In(32),
                "layer_array_cycles": In(32),
                "layer_requantize_cycles": In(32),
                "layer_drain_cycles": In(32),
                "layer_table_cycles": In(32),
            }
        )
