"""The array of multipliers and accumulators: two int8 products on each DSP48E1."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from eyas.interfaces.vision.config import VisionConfig
from hdl.parts.arithmetic import DelayLine, add_with_carry, valid_after

__all__ = ["MacArray", "PackedProducts", "pack_weights"]


def pack_weights(low: Value, high: Value) -> Value:
    """Return two int8 weights as one multiplicand, ``high · 2^16 + low``: signed, 25 bits."""
    sign = low[7]
    return Cat(low[:8], Mux(sign, Const(0xFF, 8), 0), (high - sign)[:9]).as_signed()


class PackedProducts(wiring.Component):
    """The sum of two taps for two output channels, on two cascaded DSP48E1.

    Each multiplier forms ``(high · 2^16 + low) · pixel``, which holds both channels' products.  The
    sum of two low products is −32512 to 32768: less 1, which the first DSP adds, it fits a signed
    16-bit half, and the upper half then lacks 1 exactly when the lower is negative.  So, for every
    int8 operand, −128 included, with ``t`` for the two taps::

        Σ low[t] · pixel[t]  = self.low + 1
        Σ high[t] · pixel[t] = self.high + (self.low < 0)

    Whoever adds up the results adds these ones as carries.  The operands come from registers that
    do nothing else, which with those in here become the DSP's own; the second tap's come a cycle
    after the first's, to meet its sum.  Latency 3 cycles from the first tap, one pair of taps a
    cycle, no back-pressure, no reset.

    Members
    -------
    pixels : In(ArrayLayout[2] of signed 8)
    weights : In(ArrayLayout[2] of signed 25)
        As :func:`pack_weights` gives them.
    low : Out(signed 16)
    high : Out(signed 17)
    """

    latency = 3

    pixels: In(data.ArrayLayout(signed(8), 2))
    weights: In(data.ArrayLayout(signed(25), 2))
    low: Out(signed(16))
    high: Out(signed(17))

    def elaborate(self, platform):
        m = Module()
        total = Const(-1, signed(33))
        for tap in range(2):
            product = Signal(signed(33), name=f"product{tap}", reset_less=True)
            cascaded = Signal(signed(33), name=f"sum{tap}", reset_less=True)
            m.d.sync += [
                product.eq(self.weights[tap] * self.pixels[tap]),
                cascaded.eq(product + total),
            ]
            total = cascaded
        m.d.comb += [self.low.eq(total[:16].as_signed()), self.high.eq(total[16:].as_signed())]
        return m


class MacArray(wiring.Component):
    """``output_channels × input_channels × pixels`` multiply-accumulates a cycle, exact.

    A pass multiplies every pixel's ``input_channels`` values by every output channel's weights and
    adds each row up into its accumulator.  One pass a cycle, no back-pressure: the sequencer paces
    the passes.  Inputs should come from registers: the weights meet an adder before the first one
    in here.

    Parameters
    ----------
    config : VisionConfig
        ``output_channels``, ``input_channels`` and ``pixels`` shape the array; it takes
        ``output_channels · input_channels · pixels / 2`` DSP48E1.

    Attributes
    ----------
    latency : int
        Cycles from a pass to ``strobe`` and to its place in ``sums``: 4 + log2(``input_channels``).

    Members
    -------
    pixels : In(ArrayLayout[pixels][input_channels] of signed 8)
    weights : In(ArrayLayout[output_channels][input_channels] of signed 8)
    first : In(1)
        This pass starts new sums.
    last : In(1)
        This pass completes them.
    valid : In(1)
        A pass is present; while low the three above mean nothing and the sums stay.
    sums : Out(ArrayLayout[pixels][output_channels] of signed 32)
        The accumulators, wrapping at 32 bits. With ``strobe`` they are complete; the next pass may
        change them in the cycle after.
    strobe : Out(1)
        High for one cycle, ``latency`` cycles after a pass with ``last``.
    """

    def __init__(self, config: VisionConfig):
        if not isinstance(config, VisionConfig):
            raise TypeError(f"config must be a VisionConfig, not {config!r}")
        self.config = config
        self.latency = self.latency_for(config)
        row = data.ArrayLayout(signed(8), config.input_channels)
        super().__init__(
            {
                "pixels": In(data.ArrayLayout(row, config.pixels)),
                "weights": In(data.ArrayLayout(row, config.output_channels)),
                "first": In(1),
                "last": In(1),
                "valid": In(1),
                "sums": Out(
                    data.ArrayLayout(
                        data.ArrayLayout(signed(32), config.output_channels), config.pixels
                    )
                ),
                "strobe": Out(1),
            }
        )

    @staticmethod
    def latency_for(config: VisionConfig) -> int:
        """Latency of the array of ``config``: operands, products, adder tree, accumulator."""
        return 1 + PackedProducts.latency + exact_log2(config.input_channels // 2) + 1

    def elaborate(self, platform):
        m = Module()
        config = self.config

        taps = range(config.input_channels)

        accumulate = valid_after(m, self.valid, self.latency - 1)
        first = valid_after(m, self.valid & self.first, self.latency - 1)
        m.d.comb += self.strobe.eq(valid_after(m, self.valid & self.last, self.latency))

        pixels = [
            self._operands(m, [self.pixels[pixel][tap] for tap in taps], f"pixel_{pixel}")
            for pixel in range(config.pixels)
        ]
        for channel in range(0, config.output_channels, 2):
            low, high = self.weights[channel], self.weights[channel + 1]
            packed = [pack_weights(low[tap], high[tap]) for tap in taps]
            weights = self._operands(m, packed, f"weight_{channel}")
            for pixel in range(config.pixels):
                pairs = []
                for tap in taps[::2]:
                    pair = PackedProducts()
                    m.submodules[f"products_{pixel}_{channel}_{tap}"] = pair
                    for side in range(2):
                        m.d.comb += [
                            pair.pixels[side].eq(pixels[pixel][tap + side]),
                            pair.weights[side].eq(weights[tap + side]),
                        ]
                    pairs.append(pair)
                halves = (
                    self._tree(m, [pair.low for pair in pairs], [Const(1, 1)] * len(pairs)),
                    self._tree(m, [pair.high for pair in pairs], [pair.low[-1] for pair in pairs]),
                )
                for offset, (addend, carry) in enumerate(halves):
                    total = Signal(
                        signed(32), name=f"sum_{pixel}_{channel + offset}", reset_less=True
                    )
                    m.d.comb += self.sums[pixel][channel + offset].eq(total)
                    with m.If(accumulate):
                        m.d.sync += total.eq(
                            add_with_carry(addend, Mux(first, 0, total), carry, len(total))
                        )
        return m

    @staticmethod
    def _operands(m: Module, values: list[Value], name: str) -> list[Value]:
        """Operand registers: one cycle for even taps, two for odd ones."""
        return [
            DelayLine(m, value, f"{name}_{tap}")[1 + tap % 2] for tap, value in enumerate(values)
        ]

    @staticmethod
    def _tree(m: Module, addends: list[Value], carries: list[Value]) -> tuple[Value, Value]:
        """Add up in pairs, a register a level.

        Each adder takes in one of the ``carries``, of which there are as many as addends: one is
        left for the accumulator, which it reaches together with the sum.
        """
        while len(addends) > 1:
            width = len(addends[0]) + 1
            sums = []
            for a, b in zip(addends[::2], addends[1::2], strict=True):
                total = Signal(signed(width), name="partial", reset_less=True)
                m.d.sync += total.eq(add_with_carry(a, b, carries.pop(), width))
                sums.append(total)
            addends = sums
            waiting = Signal(len(carries), name="carries", reset_less=True)
            m.d.sync += waiting.eq(Cat(carries))
            carries = list(waiting)
        return addends[0], carries[0]
