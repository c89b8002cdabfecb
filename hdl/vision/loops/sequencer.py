"""Runs a program: instruction after instruction, layer after layer."""

from amaranth.hdl import Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from eyas.interfaces.vision.config import VisionConfig
from eyas.interfaces.vision.isa import INSTRUCTION, Op
from eyas.interfaces.vision.records import ErrorCode
from hdl.parts.layout import field_shape, record_layout
from hdl.vision.interfaces import finish_layout, start_layout
from hdl.vision.loops.instruction_fetch import InstructionFetch

__all__ = ["Sequencer"]


class Sequencer(wiring.Component):
    """Fetches instructions, starts each layer when the one before has written its last result,
    and counts where the cycles of each layer went.

    Between two layers the array is idle for the depth of the pipeline and two cycles.

    The tables of an ADD are filled as soon as it has been fetched, while the layer before it runs,
    unless that is an ADD, which needs its own until its end.  An ADD starts when they are full.

    Members
    -------
    start : In(stream of start_layout)
        A program to run.
    finish : Out(stream of finish_layout)
        One item for each program: how it ended.
    memory_address, memory_data
        The instruction memory's read side.
    instruction : Out
        The running layer.
    weight_base, parameter_base : Out
        The running program's bases.
    next_instruction : Out
        The layer after it, for the tables of an ADD.
    tables_start : Out(1)
        One cycle: fill the tables for ``next_instruction``.
    tables_full : In(1)
        They are; low from the cycle after ``tables_start``.
    layer_start : Out(1)
        One cycle: the layer in ``instruction`` begins.
    passes_done : In(1)
        One cycle: the layer's last group of passes has been issued.
    layer_done : In(1)
        One cycle: the layer's last result is as good as written.
    passing, waiting : In(1)
        The array takes a pass; it waits for requantisation.
    release_input : Out(1)
        One cycle: the picture's region is free.
    running : Out(1)
        A program runs.
    counters_enable, counters_layer, counters : Out
        One cycle a layer: where its cycles went; ``tables``: those before its start in which it
        waited for its tables.
    """

    counters_layout = data.StructLayout(
        {"cycles": 32, "array": 32, "requantize": 32, "drain": 32, "tables": 16}
    )

    def __init__(self, config: VisionConfig):
        self.config = config
        super().__init__(
            {
                "start": In(stream.Signature(start_layout(config))),
                "finish": Out(stream.Signature(finish_layout)),
                "memory_address": Out(ceil_log2(config.instruction_words)),
                "memory_data": In(64),
                "instruction": Out(record_layout(INSTRUCTION)),
                "weight_base": Out(ceil_log2(config.weight_rows)),
                "parameter_base": Out(ceil_log2(config.parameter_rows)),
                "next_instruction": Out(record_layout(INSTRUCTION)),
                "tables_start": Out(1),
                "tables_full": In(1),
                "layer_start": Out(1),
                "passes_done": In(1),
                "layer_done": In(1),
                "passing": In(1),
                "waiting": In(1),
                "release_input": Out(1),
                "running": Out(1),
                "counters_enable": Out(1),
                "counters_layer": Out(field_shape(INSTRUCTION, "layer")),
                "counters": Out(self.counters_layout),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.fetch = fetch = InstructionFetch(self.config)
        program = Signal(start_layout(self.config), reset_less=True)
        layer = Signal(record_layout(INSTRUCTION), reset_less=True)
        code = Signal(finish_layout.members["code"])
        draining = Signal()
        m.d.comb += [
            self.memory_address.eq(fetch.memory_address),
            fetch.memory_data.eq(self.memory_data),
            fetch.base.eq(self.start.payload.instruction_base),
            self.instruction.eq(layer),
            self.next_instruction.eq(fetch.instruction),
            self.weight_base.eq(program.weight_base),
            self.parameter_base.eq(program.parameter_base),
            self.finish.payload.code.eq(code),
            self.finish.payload.layer.eq(layer.layer),
        ]

        # Whether the next instruction can start: an ADD when its tables are full.
        in_layer = Signal()
        ready = Signal()
        adds = Signal()
        filling = Signal()  # or full: for the next instruction
        free = Signal()
        m.d.comb += [
            adds.eq(fetch.valid & (fetch.instruction.op == Op.ADD)),
            free.eq(self.running & ~(in_layer & (layer.op == Op.ADD))),
            self.tables_start.eq(adds & free & ~filling),
            ready.eq(fetch.valid & (~adds | (filling & self.tables_full))),
        ]
        with m.If(fetch.start | fetch.take):
            m.d.sync += filling.eq(0)
        with m.Elif(self.tables_start):
            m.d.sync += filling.eq(1)

        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += [self.start.ready.eq(1), fetch.start.eq(self.start.valid)]
                m.d.sync += layer.layer.eq(0)
                with m.If(self.start.valid):
                    m.d.sync += program.eq(self.start.payload)
                    m.next = "FETCH"
            with m.State("FETCH"):
                m.d.comb += self.running.eq(1)
                with m.If(ready):
                    self._next_layer(m, fetch, layer, code)
            with m.State("START"):
                m.d.comb += [self.running.eq(1), in_layer.eq(1), self.layer_start.eq(1)]
                m.d.sync += draining.eq(0)
                m.next = "RUN"
            with m.State("RUN"):
                m.d.comb += [self.running.eq(1), in_layer.eq(1)]
                with m.If(self.passes_done):
                    m.d.sync += draining.eq(1)
                with m.If(self.layer_done):
                    m.d.comb += self.release_input.eq(layer.release_input)
                    with m.If(program.probe & (program.probe_layer == layer.layer)):
                        m.d.sync += code.eq(ErrorCode.NONE)
                        m.next = "FINISH"
                    with m.Elif(ready):
                        self._next_layer(m, fetch, layer, code)
                    with m.Else():
                        m.next = "FETCH"
            with m.State("FINISH"):
                m.d.comb += self.finish.valid.eq(1)
                with m.If(self.finish.ready):
                    m.next = "IDLE"

        # Where the layer's cycles went.
        counters = Signal(self.counters_layout, reset_less=True)
        waited = Signal(self.counters_layout.members["tables"])
        with m.If(self.layer_start):
            m.d.sync += [counters.eq(0), counters.cycles.eq(1), counters.tables.eq(waited)]
            m.d.sync += waited.eq(0)
        with m.Else():
            m.d.sync += [
                counters.cycles.eq(counters.cycles + 1),
                counters.array.eq(counters.array + self.passing),
                counters.requantize.eq(counters.requantize + self.waiting),
                counters.drain.eq(counters.drain + draining),
                waited.eq(waited + (self.running & ~in_layer & adds & ~ready)),
            ]
        m.d.comb += self.counters.eq(counters)
        m.d.sync += [self.counters_enable.eq(self.layer_done), self.counters_layer.eq(layer.layer)]
        return m

    def _operations(self):
        """What a layer can be on an array of this shape."""
        operations = [Op.CONV, Op.MAX_POOL, Op.SUM_POOL, Op.ADD]
        if self.config.has_depthwise:
            operations.append(Op.DEPTHWISE)
        return operations

    def _next_layer(self, m, fetch, layer, code):
        """Take the fetched instruction: a layer, the end, or nonsense."""
        instruction = fetch.instruction
        with m.Switch(instruction.op):
            with m.Case(*self._operations()):
                m.d.comb += fetch.take.eq(1)
                m.d.sync += layer.eq(instruction)
                m.next = "START"
            with m.Case(Op.END):
                m.d.sync += code.eq(ErrorCode.NONE)
                m.next = "FINISH"
            with m.Default():
                m.d.sync += [code.eq(ErrorCode.BAD_INSTRUCTION), layer.layer.eq(instruction.layer)]
                m.next = "FINISH"
