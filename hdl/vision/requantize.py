"""Requantisation: from 32-bit sums to int8 values as TensorFlow Lite's reference kernels round."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from eyas.interfaces.configs import VisionConfig
from hdl.vision.arithmetic_rtl import DelayLine, add_with_carry, valid_after
from hdl.vision.interfaces import parameter_layout

__all__ = ["Requantizer", "requantize"]


def _wrap_int32(value: int) -> int:
    return (value + (1 << 31)) % (1 << 32) - (1 << 31)


def requantize(
    total: int,
    bias: int,
    multiplier: int,
    shift: int,
    pre_shift: int,
    zero_point: int,
    clamp_min: int,
    clamp_max: int,
) -> int:
    """What a lane of :class:`Requantizer` computes, in plain integers.

    Parameters
    ----------
    total, bias : int
        int32; their sum wraps.
    multiplier : int
        0 to 2^31 − 1: the scale's mantissa, in units of 2^−31.
    shift : int
        0 to 31, right, after the multiplication.
    pre_shift : int
        0 to 15, left, before the multiplication; wraps.
    zero_point, clamp_min, clamp_max : int
        int8: added to the result; the range it is then clamped to.
    """
    x = _wrap_int32(_wrap_int32(total + bias) << pre_shift)
    # The high half of the doubled product: to nearest, halves upwards.
    y = (x * multiplier + (1 << 30)) >> 31
    # To nearest, halves away from zero.
    if shift:
        y = (y + (1 << (shift - 1)) - (y < 0)) >> shift
    return max(clamp_min, min(clamp_max, y + zero_point))


class Requantizer(wiring.Component):
    """``pixels × requantize_channels`` lanes, each of which computes :func:`requantize`.

    A set of sums a cycle, no back-pressure: what comes in comes out ``latency`` cycles later.  A
    lane takes two DSP48E1.

    Parameters
    ----------
    config : VisionConfig
        ``pixels`` and ``requantize_channels``.

    Attributes
    ----------
    latency : int
        Cycles from ``valid`` to ``strobe``.

    Members
    -------
    sums : In(ArrayLayout[pixels][requantize_channels] of signed 32)
    parameters : In(ArrayLayout[requantize_channels] of parameter_layout)
        Of the same cycle as ``sums``; the same for all pixels.
    valid : In(1)
        ``sums`` and ``parameters`` are present.
    zero_point, clamp_min, clamp_max : In(signed 8)
        Constant from a layer's first ``valid`` to its last ``strobe``.
    values : Out(ArrayLayout[pixels][requantize_channels] of signed 8)
    strobe : Out(1)
        ``values`` are present.
    """

    latency = 15

    def __init__(self, config: VisionConfig):
        if not isinstance(config, VisionConfig):
            raise TypeError(f"config must be a VisionConfig, not {config!r}")
        self.config = config
        channels = config.requantize_channels
        super().__init__(
            {
                "sums": In(data.ArrayLayout(data.ArrayLayout(signed(32), channels), config.pixels)),
                "parameters": In(data.ArrayLayout(parameter_layout, channels)),
                "valid": In(1),
                "zero_point": In(signed(8)),
                "clamp_min": In(signed(8)),
                "clamp_max": In(signed(8)),
                "values": Out(
                    data.ArrayLayout(data.ArrayLayout(signed(8), channels), config.pixels)
                ),
                "strobe": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.d.comb += self.strobe.eq(valid_after(m, self.valid, self.latency))
        for channel in range(self.config.requantize_channels):
            parameters = self.parameters[channel]
            delayed = {
                name: DelayLine(m, parameters[name], f"{name}_{channel}")
                for name in ("multiplier", "shift", "pre_shift")
            }
            for pixel in range(self.config.pixels):
                m.submodules[f"lane_{pixel}_{channel}"] = lane = _Lane()
                m.d.comb += [
                    lane.total.eq(self.sums[pixel][channel]),
                    lane.bias.eq(parameters.bias),
                    lane.s1_pre_shift.eq(delayed["pre_shift"][1]),
                    lane.s2_multiplier.eq(delayed["multiplier"][2]),
                    lane.s2_rounds_twice.eq(delayed["shift"][2].any()),
                    lane.s10_coarse.eq(delayed["shift"][10][3:]),
                    lane.s11_fine.eq(delayed["shift"][11][:3]),
                    lane.zero_point.eq(self.zero_point),
                    lane.clamp_min.eq(self.clamp_min),
                    lane.clamp_max.eq(self.clamp_max),
                    self.values[pixel][channel].eq(lane.value),
                ]
                for row in range(_ROWS):
                    m.d.comb += lane.row_multiplier[row].eq(delayed["multiplier"][6 + row])
        return m


_ROWS = 4
"""Rows of the part of the product that look-up tables compute."""


class _Lane(wiring.Component):
    """One lane; ``sN_`` marks what belongs to stage N, the N-th register after the inputs.

    The 32 × 31 bit product is made of three parts: the operand's lower 25 bits, as a signed number,
    times the multiplier's lower 17 bits on one DSP, times its upper 14 on another, and the
    remaining bits, recoded to four radix-4 digits of −2 to 2 (Booth), each of which adds a multiple
    of the multiplier to the DSPs' sum.

    Of the two roundings the second, half away from zero, differs for negative numbers: it has 1
    taken off before.  Where the operand is negative the first rounding constant, 2^30, already has
    that 1, 2^31, taken off.  A product that rounds to 0 gets it as well, which changes nothing:
    (−1 + 2^(shift − 1)) >> shift is 0.
    """

    total: In(signed(32))
    bias: In(32)
    s1_pre_shift: In(4)
    s2_multiplier: In(31)
    s2_rounds_twice: In(1)
    row_multiplier: In(data.ArrayLayout(31, _ROWS))
    s10_coarse: In(2)
    s11_fine: In(3)
    zero_point: In(signed(8))
    clamp_min: In(signed(8))
    clamp_max: In(signed(8))
    value: Out(signed(8))

    def elaborate(self, platform):
        m = Module()

        # 1: bias.
        s1_x = Signal(signed(32), reset_less=True)
        m.d.sync += s1_x.eq(self.total + self.bias)

        # 2: left shift, in two levels of 4:1 multiplexers.
        s2_x = Signal(signed(32), reset_less=True)
        fine = Signal(32)
        m.d.comb += fine.eq(s1_x << self.s1_pre_shift[:2])
        m.d.sync += s2_x.eq(fine << Cat(Const(0, 2), self.s1_pre_shift[2:]))

        s6_product = self._dsp_product(m, s2_x)
        s10_y = self._add_rows(m, s2_x, s6_product)
        s12_h, s12_sign, s12_overflow = self._shift(m, s10_y)

        # 13: the last rounding together with the zero point, (h + 1) / 2 + zero_point; what
        # overflowed saturates far enough outside int8 that any zero point leaves it there.
        saturated = Cat(Mux(s12_overflow, (~s12_sign).replicate(9), s12_h), s12_sign).as_signed()
        s13_value = Signal(signed(10), reset_less=True)
        m.d.sync += s13_value.eq((Cat(Const(1, 1), self.zero_point).as_signed() + saturated) >> 1)

        # 14, 15: clamp.
        s14_value = Signal(8, reset_less=True)
        s14_below = Signal(reset_less=True)
        s14_above = Signal(reset_less=True)
        s15_value = Signal(8, reset_less=True)
        m.d.sync += [
            s14_value.eq(s13_value),
            s14_below.eq(s13_value < self.clamp_min),
            s14_above.eq(s13_value > self.clamp_max),
            s15_value.eq(Mux(s14_below, self.clamp_min, Mux(s14_above, self.clamp_max, s14_value))),
        ]
        m.d.comb += self.value.eq(s15_value)
        return m

    def _dsp_product(self, m: Module, s2_x: Signal) -> Signal:
        """Stages 3 to 6: x[24:0] · multiplier + rounding constant, in units of 2^17."""
        # The constant is 2^30, less 2^31 where the second rounding wants it.
        s3_down = Signal(reset_less=True)
        s4_down = Signal(reset_less=True)
        m.d.sync += [s3_down.eq(s2_x[31] & self.s2_rounds_twice), s4_down.eq(s3_down)]
        rounding = Cat(Const(1 << 30, 31), s4_down).as_signed()

        x = DelayLine(m, s2_x[:25], "x")
        low_multiplier = DelayLine(m, self.s2_multiplier[:17], "low_multiplier")
        high_multiplier = DelayLine(m, self.s2_multiplier[17:], "high_multiplier")

        s4_low = Signal(signed(43), reset_less=True)
        s5_low = Signal(signed(43), reset_less=True)
        s5_high = Signal(signed(40), reset_less=True)
        s6_product = Signal(signed(40), reset_less=True)
        m.d.sync += [
            s4_low.eq(x[1].as_signed() * low_multiplier[1]),
            s5_low.eq(s4_low + rounding),
            s5_high.eq(x[2].as_signed() * high_multiplier[2]),
            s6_product.eq(s5_high + s5_low[17:].as_signed()),
        ]
        return s6_product

    def _add_rows(self, m: Module, s2_x: Signal, s6_product: Signal) -> Signal:
        """Stages 7 to 10: add x[31:25] · multiplier, two bits of x a stage; all, rounded."""
        # Row k weighs 2^(25 + 2k): its digit is made of bits 24 + 2k to 26 + 2k.
        extended = Cat(s2_x, s2_x[31])
        total = s6_product[8:].as_signed()
        for row in range(_ROWS):
            lowest = 24 + 2 * row
            digit = DelayLine(m, extended[lowest : lowest + 3], f"digit{row}")[4 + row]
            multiplier = self.row_multiplier[row]
            negative = digit[2]
            one = digit[0] ^ digit[1]
            two = (digit[2] ^ digit[1]) & ~one
            multiple = Mux(one, multiplier, Mux(two, multiplier << 1, 0))
            addend = Cat(multiple ^ negative.replicate(32), negative).as_signed()
            width = (34, 34, 33, 32)[row]
            partial = Signal(signed(width), name=f"s{7 + row}_sum", reset_less=True)
            m.d.sync += partial.eq(add_with_carry(total, addend, negative, width))
            total = partial[2:].as_signed()
        return partial

    def _shift(self, m: Module, s10_y: Signal) -> tuple[Signal, Signal, Signal]:
        """Stages 11 and 12: (y, with a 0 below) shifted right; 9 bits of it, sign, overflow."""
        sign = s10_y[31]
        # Bits above the 16 that the fine shift chooses from must repeat the sign.
        shifted = Cat(Const(0, 1), s10_y, sign.replicate(7)).as_signed()
        differ_16 = (shifted[16:24] ^ sign.replicate(8)).any()
        differ_24 = (shifted[24:32] ^ sign.replicate(8)).any()
        s11_window = Signal(16, reset_less=True)
        s11_sign = Signal(reset_less=True)
        s11_overflow = Signal(reset_less=True)
        m.d.sync += [
            s11_window.eq(shifted >> Cat(Const(0, 3), self.s10_coarse)),
            s11_sign.eq(sign),
            s11_overflow.eq(
                (~self.s10_coarse[1] & differ_24) | ((self.s10_coarse == 0) & differ_16)
            ),
        ]

        s12_h = Signal(9, reset_less=True)
        s12_sign = Signal(reset_less=True)
        s12_overflow = Signal(reset_less=True)
        above = [(s11_window[9 + n] != s11_sign) & (self.s11_fine <= n) for n in range(7)]
        m.d.sync += [
            s12_h.eq(s11_window >> self.s11_fine),
            s12_sign.eq(s11_sign),
            s12_overflow.eq(s11_overflow | Cat(above).any()),
        ]
        return s12_h, s12_sign, s12_overflow
