"""Runs a resident program: instructions decoded once, then layer after layer."""

from __future__ import annotations

from typing import NamedTuple

from drivers.functional.cycles import FETCH, TABLES, LayerCycles, layer_cycles
from drivers.functional.layers import Layer
from drivers.functional.memories import Memories
from drivers.functional.pictures import PictureLoader
from drivers.functional.programs import Slot
from eyas.interfaces.vision.isa import INSTRUCTION, Op
from eyas.interfaces.vision.records import ErrorCode

__all__ = ["DecodedProgram", "Finish"]


class Finish(NamedTuple):
    """How a run ended: a code, the layer that ran last, the core's cycles (an estimate but for the
    layers') and those in which the array took a pass."""

    code: ErrorCode
    layer: int
    core_cycles: int
    array_cycles: int


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
        self._layers: list[tuple[Layer, LayerCycles]] = []
        self._code = ErrorCode.NONE
        self._bad_layer = 0
        self.ends = False
        config = memories.config
        words = INSTRUCTION.word_count
        before = None
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
            try:
                layer = Layer(fields, memories, slot.weight_base, slot.parameter_base)
            except KeyError:
                self._code, self._bad_layer = ErrorCode.BAD_INSTRUCTION, fields["layer"]
                self.ends = True
                break
            cycles = layer_cycles(fields, config)
            if fields["op"] == Op.ADD:
                # Tables are filled while a layer runs that has none itself.
                hidden = 0 if before is None else before
                cycles = cycles._replace(table=max(0, FETCH + TABLES - hidden))
            before = None if fields["op"] == Op.ADD else cycles.cycles
            self._layers.append((layer, cycles))

    def run(self, counters: dict[int, LayerCycles], probe_layer: int | None) -> Finish:
        """Run on the picture in the activation memory; behind layer ``probe_layer`` stop.

        ``counters`` takes the layers' cycles.
        """
        number, core, array = 0, FETCH, 0
        for layer, cycles in self._layers:
            layer.run()
            number = layer.fields["layer"]
            counters[number] = cycles
            core += cycles.cycles + cycles.table
            array += cycles.array
            if number == probe_layer:
                return Finish(ErrorCode.NONE, number, core, array)
        if self._code != ErrorCode.NONE:
            number = self._bad_layer
        return Finish(self._code, number, core, array)
