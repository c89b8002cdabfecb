"""Fetches the next macro-instruction while the present one runs."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from eyas.interfaces.vision.config import VisionConfig
from eyas.interfaces.vision.isa import INSTRUCTION
from hdl.parts.layout import record_layout
from hdl.vision.memories import InstructionMemory

__all__ = ["InstructionFetch"]


class InstructionFetch(wiring.Component):
    """Reads one instruction ahead, 64 bits a cycle.

    Latency: ``INSTRUCTION.word_count + 3`` cycles from ``start`` or ``take`` to ``valid``; a layer
    lasts longer, so that the array never waits for an instruction but a program's first.

    Members
    -------
    start : In(1), base : In
        Begins to fetch at word ``base``; what was fetched before is forgotten.
    take : In(1)
        The instruction has been copied: fetch the next. Only while ``valid``.
    valid : Out(1), instruction : Out
        The next instruction.
    memory_address, memory_data
        The instruction memory's read side.
    """

    def __init__(self, config: VisionConfig):
        self.config = config
        address = ceil_log2(config.instruction_words)
        super().__init__(
            {
                "start": In(1),
                "base": In(address),
                "take": In(1),
                "valid": Out(1),
                "instruction": Out(record_layout(INSTRUCTION)),
                "memory_address": Out(address),
                "memory_data": In(64),
            }
        )

    def elaborate(self, platform):
        m = Module()
        address = Signal.like(self.memory_address, reset_less=True)
        words_left = Signal(range(INSTRUCTION.word_count + 1))
        # A one for each address under way in the memory; the oldest at the top.
        under_way = Signal(InstructionMemory.latency)
        words_to_come = Signal(range(INSTRUCTION.word_count + 1))
        buffer = Signal(INSTRUCTION.width, reset_less=True)
        m.d.comb += [
            self.memory_address.eq(address),
            self.instruction.eq(data.View(record_layout(INSTRUCTION), buffer)),
        ]
        with m.If(self.start | self.take):
            m.d.sync += [
                words_left.eq(INSTRUCTION.word_count),
                words_to_come.eq(INSTRUCTION.word_count),
                under_way.eq(0),
                self.valid.eq(0),
            ]
            with m.If(self.start):
                m.d.sync += address.eq(self.base)
        with m.Else():
            m.d.sync += under_way.eq(Cat(words_left != 0, under_way))
            with m.If(words_left != 0):
                m.d.sync += [address.eq(address + 1), words_left.eq(words_left - 1)]
            with m.If(under_way[-1]):
                m.d.sync += [
                    buffer.eq(Cat(buffer[64:], self.memory_data)),
                    words_to_come.eq(words_to_come - 1),
                    self.valid.eq(words_to_come == 1),
                ]
        return m
