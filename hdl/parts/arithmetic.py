"""Small pieces that the vision datapath's stages are built from."""

from amaranth.hdl import Cat, Module, Signal, Value, ValueCastable

__all__ = ["DelayLine", "add_with_carry", "valid_after"]


def add_with_carry(a: Value, b: Value, carry: Value, width: int) -> Value:
    """Return ``a + b + carry``, signed, on one carry chain.

    The carry stands below the lowest bit of both operands, where it carries itself in: synthesis
    spends no look-up table on it.  What each bit of ``a`` comes from is wired to the chain as it
    is, what each bit of ``b`` comes from may take logic of its own: give a register as ``a``.

    Parameters
    ----------
    a, b : Value
        Signed operands.
    carry : Value
        One bit.
    width : int
        Bits of the result; those above are dropped.
    """
    total = Cat(carry, a).as_signed() + Cat(carry, b).as_signed()
    if len(total) <= width:
        raise ValueError(f"The sum of {len(a)} and {len(b)} bits has no {width} bits")
    return total[1 : width + 1].as_signed()


def valid_after(m: Module, valid: Value, cycles: int) -> Value:
    """Return ``valid`` delayed by ``cycles``, at least 1; low after reset."""
    stages = Signal(cycles, name="valid_stages")
    m.d.sync += stages.eq(Cat(valid, stages))
    return stages[-1]


class DelayLine:
    """A value with its past: ``line[n]`` is what ``value`` was n cycles ago.

    Registers are made as they are asked for and carry no reset, so that long stretches nobody taps
    become shift registers in look-up tables.

    Parameters
    ----------
    m : Module
        Takes the registers, in its ``sync`` domain.
    value : Value
        What to delay.
    name : str
        Stem of the registers' names.
    """

    def __init__(self, m: Module, value: Value | ValueCastable, name: str):
        self._m = m
        self._name = name
        self._taps = [Value.cast(value)]

    def __getitem__(self, cycles: int) -> Value:
        if cycles < 0:
            raise IndexError(f"{self._name} cannot be seen {-cycles} cycles ahead")
        while len(self._taps) <= cycles:
            tap = Signal(
                self._taps[0].shape(), name=f"{self._name}_{len(self._taps)}", reset_less=True
            )
            self._m.d.sync += tap.eq(self._taps[-1])
            self._taps.append(tap)
        return self._taps[cycles]
