"""Sums and maxima over pooling windows."""

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from eyas.interfaces.vision.config import VisionConfig
from hdl.parts.arithmetic import DelayLine, valid_after
from hdl.vision.datapath.mac_array import MacArray

__all__ = ["PoolingUnit"]


class PoolingUnit(wiring.Component):
    """Sum or maximum of each channel over the passes of a window.

    Stands beside :class:`MacArray`, with the same passes, the same timing and no back-pressure: a
    pass a cycle.  Requantisation turns the sum into an average.

    Parameters
    ----------
    config : VisionConfig
        ``pixels`` and ``input_channels``.

    Attributes
    ----------
    latency : int
        Cycles from a pass to ``strobe`` and to its place in ``sums``: the array's.
    max_taps : int
        Passes that a sum holds: 4096.
    sum_shape : Shape
        What holds them.

    Members
    -------
    pixels : In(ArrayLayout[pixels][input_channels] of signed 8)
    maximum : In(1)
        Whether to keep the greatest value instead of adding up; the same in all passes of a window.
    first : In(1)
        This pass starts a window.
    last : In(1)
        This pass completes it.
    valid : In(1)
        A pass is present; while low the others mean nothing and the results stay.
    sums : Out(ArrayLayout[pixels][input_channels] of signed 32)
        With ``strobe`` the window's result; the next pass may change it in the cycle after.
    strobe : Out(1)
        High for one cycle, ``latency`` cycles after a pass with ``last``.
    """

    max_taps = 4096
    sum_shape = signed((128 * max_taps - 1).bit_length() + 1)

    def __init__(self, config: VisionConfig):
        if not isinstance(config, VisionConfig):
            raise TypeError(f"config must be a VisionConfig, not {config!r}")
        self.config = config
        self.latency = MacArray.latency_for(config)
        super().__init__(
            {
                "pixels": In(
                    data.ArrayLayout(
                        data.ArrayLayout(signed(8), config.input_channels), config.pixels
                    )
                ),
                "maximum": In(1),
                "first": In(1),
                "last": In(1),
                "valid": In(1),
                "sums": Out(
                    data.ArrayLayout(
                        data.ArrayLayout(signed(32), config.input_channels), config.pixels
                    )
                ),
                "strobe": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self.config

        # The results take one cycle; what makes up the array's latency is the operands' delay,
        # for they are narrower than the sums.
        wait = self.latency - 1
        valid = valid_after(m, self.valid, wait)
        first = valid_after(m, self.valid & self.first, wait)
        maximum = DelayLine(m, self.maximum, "maximum")[wait]
        m.d.comb += self.strobe.eq(valid_after(m, self.valid & self.last, self.latency))

        for pixel in range(config.pixels):
            for channel in range(config.input_channels):
                delayed = DelayLine(m, self.pixels[pixel][channel], f"value_{pixel}_{channel}")
                value = delayed[wait].as_signed()
                total = Signal(self.sum_shape, name=f"sum_{pixel}_{channel}", reset_less=True)
                # A maximum uses the adder as a way past it, and the enable to choose.
                previous = Mux(first | maximum, 0, total)
                greater = value > total[:8].as_signed()
                with m.If(valid & (first | ~maximum | greater)):
                    m.d.sync += total.eq(value + previous)
                m.d.comb += self.sums[pixel][channel].eq(total)
        return m
