"""From completed sums to the requantiser: a few channels of every pixel a cycle."""

from amaranth.hdl import Module, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from eyas.interfaces.vision.config import VisionConfig
from eyas.interfaces.vision.isa import INSTRUCTION
from hdl.parts.layout import record_layout
from hdl.vision.memories import ParameterMemory

__all__ = ["Drain"]


class Drain(wiring.Component):
    """Copies a group's sums when they are complete and hands them on, with their parameters' row.

    While the array already adds up the next group, ``requantize_channels`` channels of every pixel
    go to the requantiser each cycle, ``drain`` cycles long.  The sequencer leaves at least as many
    cycles between two groups, so there is no back-pressure.

    Members
    -------
    instruction : In
        The layer, constant from ``start`` until its last result.
    parameter_base : In
        First parameter row of the running program.
    start : In(1)
        A layer begins.
    early : In(1)
        One cycle before the sums are complete.
    sums : In(ArrayLayout[pixels][output_channels] of signed 32)
        Complete in the cycle after ``early``.
    parameter_row : Out
        Row of parameter memory; its data comes back ``ParameterMemory.latency`` cycles later,
        together with its sums in ``selected``.
    selected : Out(ArrayLayout[pixels][requantize_channels] of signed 32)
    valid : Out(1)
        ``selected`` holds sums to requantise.
    """

    def __init__(self, config: VisionConfig):
        self.config = config
        super().__init__(
            {
                "instruction": In(record_layout(INSTRUCTION)),
                "parameter_base": In(ceil_log2(config.parameter_rows)),
                "start": In(1),
                "early": In(1),
                "sums": In(self._sums(config, config.output_channels)),
                "parameter_row": Out(ceil_log2(config.parameter_rows)),
                "selected": Out(self._sums(config, config.requantize_channels)),
                "valid": Out(1),
            }
        )

    @staticmethod
    def _sums(config, channels):
        return data.ArrayLayout(data.ArrayLayout(signed(32), channels), config.pixels)

    def elaborate(self, platform):
        m = Module()
        config = self.config
        layer = self.instruction

        # The rows of the tile, and where the next tile's begin.
        left = Signal.like(layer.drain)
        groups_left = Signal.like(layer.groups, reset_less=True)
        row = Signal.like(self.parameter_row, reset_less=True)
        tile_row = Signal.like(row, reset_less=True)
        next_tile_row = Signal.like(row, reset_less=True)
        reading = Signal()
        m.d.comb += [reading.eq(self.early | (left != 0)), self.parameter_row.eq(row)]
        m.d.sync += next_tile_row.eq(tile_row + layer.parameter_step)
        with m.If(self.early):
            m.d.sync += left.eq(layer.drain - 1)
        with m.Elif(left != 0):
            m.d.sync += left.eq(left - 1)
        with m.If(self.start):
            m.d.sync += [
                row.eq(layer.parameter_base + self.parameter_base),
                tile_row.eq(layer.parameter_base + self.parameter_base),
                groups_left.eq(layer.groups - 1),
            ]
        with m.Elif(left == 1):  # the group's last row; a group has at least two
            m.d.sync += [row.eq(tile_row), groups_left.eq(groups_left - 1)]
            with m.If(groups_left == 0):
                m.d.sync += [
                    row.eq(next_tile_row),
                    tile_row.eq(next_tile_row),
                    groups_left.eq(layer.groups - 1),
                ]
        with m.Elif(reading):
            m.d.sync += row.eq(row + 1)

        # The sums wait for the parameter memory.
        assert ParameterMemory.latency == 2
        complete = Signal()
        coming = Signal()
        steps = config.output_channels // config.requantize_channels
        selection = Signal(range(max(2, steps)), reset_less=True)
        held = Signal.like(self.sums.as_value(), reset_less=True)
        m.d.sync += [complete.eq(self.early), coming.eq(reading), self.valid.eq(coming)]
        with m.If(complete):
            m.d.sync += [held.eq(self.sums), selection.eq(0)]
        with m.Else():
            m.d.sync += selection.eq(selection + 1)
        held_sums = data.View(self._sums(config, config.output_channels), held)
        with m.Switch(selection):
            for step in range(steps):
                with m.Case(step):
                    for pixel in range(config.pixels):
                        for channel in range(config.requantize_channels):
                            m.d.comb += self.selected[pixel][channel].eq(
                                held_sums[pixel][step * config.requantize_channels + channel]
                            )
            with m.Default():
                pass
        return m
