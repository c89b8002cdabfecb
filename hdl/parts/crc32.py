"""CRC-32 as zlib computes it, eight bytes a cycle."""

from functools import cache, reduce
from operator import xor

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["CRC_INIT", "Crc32", "ZeroBytes", "after_zeros", "before_zeros"]

CRC_BITS = 32
CRC_INIT = 0xFFFF_FFFF
"""The state before the first byte; the CRC is the last state, inverted."""
_POLYNOMIAL = 0xEDB8_8320
_BEAT_BYTES = 8


def _forward(state: int, count: int) -> int:
    """The state after ``count`` bytes of zero."""
    for _ in range(8 * count):
        state = state >> 1 ^ (_POLYNOMIAL if state & 1 else 0)
    return state


def _back(state: int, count: int) -> int:
    """The state ``count`` bytes of zero ago."""
    for _ in range(8 * count):
        carry = state >> (CRC_BITS - 1)
        state = ((state ^ (_POLYNOMIAL if carry else 0)) << 1 | carry) & CRC_INIT
    return state


@cache
def _columns(function, count: int) -> tuple[int, ...]:
    """What each bit of a state becomes."""
    return tuple(function(1 << bit, count) for bit in range(CRC_BITS))


def _linear(columns, value):
    """The sum modulo 2 of the columns whose bit is set in ``value``."""
    return Cat(
        reduce(xor, (value[j] for j, column in enumerate(columns) if column >> i & 1), Const(0, 1))
        for i in range(CRC_BITS)
    )


def after_zeros(state, count: int):
    """The state ``count`` bytes of zero later, as logic."""
    return _linear(_columns(_forward, count), state)


def before_zeros(state, count: int):
    """The state ``count`` bytes of zero earlier, as logic."""
    return _linear(_columns(_back, count), state)


class Crc32(wiring.Component):
    """The state of a CRC-32 over beats of eight bytes, the lowest byte first.

    A message that is no multiple of eight bytes ends with bytes of zero, which
    :class:`ZeroBytes` takes off its state, or which are put to the state that is expected
    (:func:`after_zeros`).

    Latency: 2 cycles from a beat to ``state``.  Throughput: 1 beat a cycle.  Without
    back-pressure: there is nothing to wait for.

    Members
    -------
    data : In(64)
        A beat.
    valid : In(1)
        It is there.
    first : In(1)
        It begins a message.
    state : Out(32)
        After the beats so far; stands until the next beat's.
    """

    latency = 2

    data: In(8 * _BEAT_BYTES)
    valid: In(1)
    first: In(1)
    state: Out(CRC_BITS)

    def elaborate(self, platform):
        m = Module()

        # The beat's part and the state's part of the next state add up: the former comes first.
        low, high = self.data[:CRC_BITS], self.data[CRC_BITS:]
        part = Signal(CRC_BITS, reset_less=True)
        begins = Signal(reset_less=True)
        valid = Signal()
        start = Const(_forward(CRC_INIT, _BEAT_BYTES), CRC_BITS)
        m.d.sync += [
            valid.eq(self.valid),
            begins.eq(self.first),
            part.eq(
                after_zeros(low, _BEAT_BYTES)
                ^ after_zeros(high, _BEAT_BYTES // 2)
                ^ Mux(self.first, start, 0)
            ),
        ]
        with m.If(valid):
            m.d.sync += self.state.eq(after_zeros(Mux(begins, 0, self.state), _BEAT_BYTES) ^ part)

        return m


class ZeroBytes(wiring.Component):
    """Takes up to seven bytes of zero off the end of a CRC's message.

    Latency: 3 cycles.  Throughput: 1 state a cycle.

    Members
    -------
    state : In(32)
        After the zeros.
    count : In(3)
        How many.
    o : Out(32)
        The state before them, 3 cycles later.
    """

    latency = 3

    state: In(CRC_BITS)
    count: In(3)
    o: Out(CRC_BITS)

    def elaborate(self, platform):
        m = Module()

        state, count = self.state, self.count
        for bit in reversed(range(3)):
            before = Signal(CRC_BITS, reset_less=True, name=f"before_{1 << bit}")
            m.d.sync += before.eq(Mux(count[bit], before_zeros(state, 1 << bit), state))
            if bit:
                left = Signal(bit, reset_less=True, name=f"left_{1 << bit}")
                m.d.sync += left.eq(count[:bit])
                count = left
            state = before
        m.d.comb += self.o.eq(state)

        return m
