"""One sum from all pixel lanes, where they share a window."""

from amaranth.hdl import Module, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from eyas.interfaces.vision.config import VisionConfig
from hdl.vision.datapath.pooling import PoolingUnit

__all__ = ["LaneSum"]


class LaneSum(wiring.Component):
    """Adds up each channel's sums over the pixel lanes.

    A pool with a single output pixel would leave all lanes but one idle: instead they take
    neighbouring columns of the one window, and their sums are added here.  A set of sums a cycle,
    one adder between two registers, no back-pressure.

    Parameters
    ----------
    config : VisionConfig
        ``pixels`` and ``input_channels``.

    Attributes
    ----------
    latency : int
        Cycles from ``sums`` to ``total``: ``pixels`` − 1.

    Members
    -------
    sums : In(ArrayLayout[pixels][input_channels] of signed 32)
        As :class:`~hdl.vision.datapath.pooling.PoolingUnit` gives them: all together at most its
        ``max_taps`` values.
    total : Out(ArrayLayout[input_channels] of signed 32)
    """

    def __init__(self, config: VisionConfig):
        if not isinstance(config, VisionConfig):
            raise TypeError(f"config must be a VisionConfig, not {config!r}")
        self.config = config
        self.latency = config.pixels - 1
        channels = data.ArrayLayout(signed(32), config.input_channels)
        super().__init__(
            {"sums": In(data.ArrayLayout(channels, config.pixels)), "total": Out(channels)}
        )

    def elaborate(self, platform):
        m = Module()
        shape = PoolingUnit.sum_shape
        for channel in range(self.config.input_channels):
            waiting = [lane[channel][: shape.width].as_signed() for lane in self.sums]
            for stage in range(self.latency):
                total = Signal(shape, name=f"total_{channel}_{stage}", reset_less=True)
                m.d.sync += total.eq(waiting[0] + waiting[1])
                later = [
                    Signal(shape, name=f"lane_{channel}_{stage}_{number}", reset_less=True)
                    for number in range(len(waiting) - 2)
                ]
                m.d.sync += [
                    register.eq(value) for register, value in zip(later, waiting[2:], strict=True)
                ]
                waiting = [total, *later]
            m.d.comb += self.total[channel].eq(waiting[0])
        return m
