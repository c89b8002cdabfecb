"""Runs a resident program: instructions decoded once, then layer after layer."""

from __future__ import annotations

from typing import NamedTuple

from drivers.functional.cycles import FETCH, TABLES, LayerCycles, layer_cycles
from drivers.functional.layers import Layer, operations
from drivers.functional.memories import Memories
from drivers.functional.pictures import PictureLoader
from drivers.functional.programs import Slot
from eyas.interfaces.vision.isa import INSTRUCTION, Op
from eyas.interfaces.vision.records import ErrorCode

__all__ = ["DecodedProgram", "Finish"]


class Finish(NamedTuple):
    """How a run ended: a code, the layer that ran last, the core's cycles and those in which the
    array took a pass."""

    code: ErrorCode
    layer: int
    core_cycles: int
    array_cycles: int


class _Step(NamedTuple):
    """A layer, the cycles that the core waits before it, and its own."""

    layer: Layer
    gap: int
    cycles: LayerCycles


class DecodedProgram:
    """A program of the instruction memory, ready to run again and again.

    Parameters
    ----------
    slot : Slot
        The program; its sections stand in ``memories``.

    Attributes
    ----------
    pictures : PictureLoader
        Of the program's pictures.
    ends : bool
        Whether there is an END, or an instruction that the engine does not know: else the
        sequencer goes round in its memory for ever.
    """

    def __init__(self, slot: Slot, memories: Memories) -> None:
        self.pictures = PictureLoader(slot.header, memories)
        self._steps: list[_Step] = []
        self._code = ErrorCode.NONE
        self._bad_layer = 0
        self.ends = False
        config = memories.config
        words = INSTRUCTION.word_count
        for number in range(config.instruction_words // words):
            start = slot.instruction_base + number * words
            bits = b"".join(
                int(memories.instructions[(start + word) % config.instruction_words]).to_bytes(
                    8, "little"
                )
                for word in range(words)
            )
            fields = INSTRUCTION.unpack_bytes(bits)
            if fields["op"] == Op.END:
                self.ends = True
                break
            if fields["op"] not in operations(config):
                self._code, self._bad_layer = ErrorCode.BAD_INSTRUCTION, fields["layer"]
                self.ends = True
                break
            layer = Layer(fields, memories, slot.weight_base, slot.parameter_base)
            gap, cycles = 0, layer_cycles(fields, config)
            if fields["op"] == Op.ADD:
                gap = self._wait_for_tables()
                # The cycle in which they are found full is no wait; before a first layer it is one
                # of FETCH.
                cycles = cycles._replace(table=max(0, gap - 1) if self._steps else gap)
            self._steps.append(_Step(layer, gap, cycles))

    def _wait_for_tables(self) -> int:
        """Cycles between the layers so far and an ADD behind them.

        Its tables are filled once it has been fetched, while a layer runs that has none itself.
        """
        if not self._steps:
            return TABLES
        last = self._steps[-1]
        if last.layer.fields["op"] == Op.ADD:
            return TABLES + 1
        return max(0, FETCH + TABLES - last.cycles.cycles)

    def finishes(self, probe_layer: int | None) -> bool:
        """Whether a run comes to an end, or to the layer ``probe_layer``."""
        return self.ends or any(step.layer.fields["layer"] == probe_layer for step in self._steps)

    def run(self, counters: dict[int, LayerCycles], probe_layer: int | None) -> Finish:
        """Run on the picture in the activation memory; behind layer ``probe_layer`` stop.

        ``counters`` takes the layers' cycles.
        """
        number, core, array = 0, FETCH, 0
        for layer, gap, cycles in self._steps:
            layer.run()
            number = layer.fields["layer"]
            counters[number] = cycles
            core += gap + cycles.cycles
            array += cycles.array
            if number == probe_layer:
                return Finish(ErrorCode.NONE, number, core, array)
        if self._code != ErrorCode.NONE:
            number = self._bad_layer
        return Finish(self._code, number, core, array)
