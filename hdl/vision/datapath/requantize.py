"""Requantisation: from 32-bit sums to int8 values as TensorFlow Lite's reference kernels round."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from eyas.interfaces.vision.config import VisionConfig
from eyas.interfaces.vision.isa import MULTIPLIER_FRACTION
from hdl.parts.arithmetic import DelayLine, add_with_carry, valid_after
from hdl.vision.interfaces import parameter_layout

__all__ = ["Requantizer", "requantize"]

_FINE_BITS = 3
"""Bits of the right shift that its second stage takes; the first one takes those above."""


def _wrap_int32(value: int) -> int:
    return (value + (1 << 31)) % (1 << 32) - (1 << 31)


def _rounded_away(value: int, shift: int) -> int:
    """``value / 2^shift`` to nearest, halves away from zero."""
    if shift == 0:
        return value
    return (value + (1 << (shift - 1)) - (value < 0)) >> shift


def requantize(
    total: int,
    bias: int,
    multiplier: int,
    shift: int,
    pre_shift: int,
    zero_point: int,
    clamp_min: int,
    clamp_max: int,
    rounds_once: bool = False,
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
    rounds_once : bool
        Whether the product is rounded by the right shift alone.
    """
    x = _wrap_int32(_wrap_int32(total + bias) << pre_shift)
    product = x * multiplier
    if rounds_once:
        y = _rounded_away(product, MULTIPLIER_FRACTION + shift)
    else:
        # The high half of the doubled product: to nearest, halves upwards.
        y = (product + (1 << (MULTIPLIER_FRACTION - 1))) >> MULTIPLIER_FRACTION
        y = _rounded_away(y, shift)
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
                for name in ("multiplier", "shift", "pre_shift", "rounds_once")
            }
            for pixel in range(self.config.pixels):
                m.submodules[f"lane_{pixel}_{channel}"] = lane = _Lane()
                m.d.comb += [
                    lane.total.eq(self.sums[pixel][channel]),
                    lane.bias.eq(parameters.bias),
                    lane.s1_pre_shift.eq(delayed["pre_shift"][1]),
                    lane.s2_shifts.eq(delayed["shift"][2].any()),
                    lane.s2_rounds_once.eq(delayed["rounds_once"][2]),
                    lane.s10_coarse.eq(delayed["shift"][10][_FINE_BITS:]),
                    lane.s11_fine.eq(delayed["shift"][11][:_FINE_BITS]),
                    lane.zero_point.eq(self.zero_point),
                    lane.clamp_min.eq(self.clamp_min),
                    lane.clamp_max.eq(self.clamp_max),
                    self.values[pixel][channel].eq(lane.value),
                ]
                for stage in (3, 4, 6, 7, 8, 9):
                    m.d.comb += getattr(lane, f"s{stage}_multiplier").eq(
                        delayed["multiplier"][stage]
                    )
        return m


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

    A lane that rounds once keeps what is under the binary point by not adding 2^30, unless there
    is no shift to round for it; it takes the 1 of a negative number off the product's last bit.
    """

    total: In(signed(32))
    bias: In(32)
    s1_pre_shift: In(parameter_layout["pre_shift"].shape)
    s2_shifts: In(1)
    s2_rounds_once: In(1)
    s3_multiplier: In(parameter_layout["multiplier"].shape)
    s4_multiplier: In(parameter_layout["multiplier"].shape)
    s6_multiplier: In(parameter_layout["multiplier"].shape)
    s7_multiplier: In(parameter_layout["multiplier"].shape)
    s8_multiplier: In(parameter_layout["multiplier"].shape)
    s9_multiplier: In(parameter_layout["multiplier"].shape)
    s10_coarse: In(parameter_layout["shift"].width - _FINE_BITS)
    s11_fine: In(_FINE_BITS)
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
        saturated = Cat(Mux(s12_overflow, Mux(s12_sign, 0, 0x1FF), s12_h), s12_sign)
        s13_value = Signal(signed(10), reset_less=True)
        offset = Cat(Const(1, 1), self.zero_point).as_signed()
        m.d.sync += s13_value.eq((offset + saturated.as_signed()) >> 1)

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
        # Rounding twice it is 2^30, less 2^31 where the second rounding wants it; rounding once it
        # is 0, or 2^30 without a second rounding, less 1 for a negative operand.
        s3_negative = Signal(reset_less=True)
        s3_shifts = Signal(reset_less=True)
        s3_rounds_once = Signal(reset_less=True)
        s4_low_bits = Signal(reset_less=True)
        s4_half = Signal(reset_less=True)
        s4_sign = Signal(reset_less=True)
        m.d.sync += [
            s3_negative.eq(s2_x[31]),
            s3_shifts.eq(self.s2_shifts),
            s3_rounds_once.eq(self.s2_rounds_once),
            s4_low_bits.eq(s3_negative & s3_rounds_once),
            s4_half.eq(~s3_rounds_once | (s3_negative == s3_shifts)),
            s4_sign.eq(s3_negative & s3_shifts),
        ]
        rounding = Cat(s4_low_bits.replicate(30), s4_half, s4_sign).as_signed()

        x = DelayLine(m, s2_x[:25], "x")
        s3_x, s4_x = x[1].as_signed(), x[2].as_signed()
        s4_low = Signal(signed(43), reset_less=True)
        s5_low = Signal(signed(43), reset_less=True)
        s5_high = Signal(signed(40), reset_less=True)
        s6_product = Signal(signed(40), reset_less=True)
        m.d.sync += [
            s4_low.eq(s3_x * self.s3_multiplier[:17]),
            s5_low.eq(s4_low + rounding),
            s5_high.eq(s4_x * self.s4_multiplier[17:]),
            s6_product.eq(s5_high + s5_low[17:].as_signed()),
        ]
        return s6_product

    def _add_rows(self, m: Module, s2_x: Signal, s6_product: Signal) -> Signal:
        """Stages 7 to 10: add x[31:25] · multiplier, two bits of x a stage: the first rounding's
        result, less 1 where the second wants it."""
        # Row k weighs 2^(25 + 2k); its digit is made of bits 24 + 2k to 26 + 2k.  With each row its
        # multiplier and the bits that hold the sum so far, in units of its weight.
        top = DelayLine(m, s2_x[24:], "x_top")
        total = s6_product[8:].as_signed()
        rows = (
            (self.s6_multiplier, 34),
            (self.s7_multiplier, 34),
            (self.s8_multiplier, 33),
            (self.s9_multiplier, 32),
        )
        for row, (multiplier, width) in enumerate(rows):
            bits = Cat(top[4 + row], top[4 + row][-1])
            digit = bits[2 * row : 2 * row + 3]
            one = digit[0] ^ digit[1]
            two = (digit[2] ^ digit[1]) & ~one
            multiple = Signal(32, name=f"s{6 + row}_multiple")
            m.d.comb += multiple.eq(Mux(one, multiplier, Mux(two, multiplier << 1, 0)))
            negative = digit[2]
            addend = Cat(Mux(negative, ~multiple, multiple), negative).as_signed()
            partial = Signal(signed(width), name=f"s{7 + row}_sum", reset_less=True)
            m.d.sync += partial.eq(add_with_carry(total, addend, negative, width))
            total = partial[2:].as_signed()
        return partial

    def _shift(self, m: Module, s10_y: Signal) -> tuple[Signal, Signal, Signal]:
        """Stages 11 and 12: (y, with a 0 below) shifted right; 9 bits of it, sign, overflow."""
        sign = s10_y[31]
        # Bits above the 16 that the fine shift chooses from must repeat the sign.
        shifted = Cat(Const(0, 1), s10_y).as_signed()
        differ = Mux(sign, ~s10_y, s10_y)
        s11_window = Signal(16, reset_less=True)
        s11_sign = Signal(reset_less=True)
        s11_overflow = Signal(reset_less=True)
        m.d.sync += [
            s11_window.eq(shifted >> Cat(Const(0, 3), self.s10_coarse)),
            s11_sign.eq(sign),
            s11_overflow.eq(
                (~self.s10_coarse[1] & differ[23:31].any())
                | ((self.s10_coarse == 0) & differ[15:23].any())
            ),
        ]

        s12_h = Signal(9, reset_less=True)
        s12_sign = Signal(reset_less=True)
        s12_overflow = Signal(reset_less=True)
        above = Mux(s11_sign, ~s11_window, s11_window)[9:]
        counts = Cat(self.s11_fine <= n for n in range(7))
        m.d.sync += [
            s12_h.eq(s11_window >> self.s11_fine),
            s12_sign.eq(s11_sign),
            s12_overflow.eq(s11_overflow | (above & counts).any()),
        ]
        return s12_h, s12_sign, s12_overflow
