"""Finds the slot of a packet's key."""

import zlib

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from eyas.interfaces.switch.config import SwitchConfig
from eyas.interfaces.switch.packet import PACKET
from eyas.interfaces.switch.states import Policy
from hdl.parts.layout import field_shape
from hdl.switch.layouts import settings_layout

__all__ = ["SlotChoice"]


def _crc32(message: Value, width: int) -> Value:
    """The low ``width`` bits of zlib's CRC-32 of ``message``, whole bytes, the lowest first.

    The CRC is linear: each bit is a parity of message bits and a constant.
    """
    size = len(message) // 8

    def crc(bits: int) -> int:
        return zlib.crc32(bits.to_bytes(size, "little"))

    constant = crc(0)
    effects = [crc(1 << place) ^ constant for place in range(len(message))]
    return Cat(
        Cat(bit for bit, effect in zip(message, effects, strict=True) if effect >> place & 1).xor()
        ^ (constant >> place & 1)
        for place in range(width)
    )


class SlotChoice(wiring.Component):
    """Chooses a slot as ``models.switch.hashing`` does: by the hash of job, seq and salt, or under
    SWITCHML among the job's own slots.

    Latency: 1 cycle from ``job``, ``seq`` and ``take``; ``base`` and ``mask`` are the job's then.

    Parameters
    ----------
    config : SwitchConfig
        Slots.

    Members
    -------
    policy : In
        A :class:`eyas.interfaces.switch.states.Policy`.
    slots_log2 : In
        Slots in use by shared memory, as a power of two.
    salt : In
        Into the hash.
    take : In(1)
        A packet of ``job`` and ``seq`` is here.
    job, seq : In
    base, mask : In
        The job's own slots, a cycle later: the first, and how many less one.
    slot : Out
        The slot, from a cycle after ``take`` until the next.
    """

    def __init__(self, config: SwitchConfig):
        self.config = config
        slot = ceil_log2(config.slots)
        super().__init__(
            {
                "policy": In(settings_layout["policy"].shape),
                "slots_log2": In(settings_layout["slots_log2"].shape),
                "salt": In(settings_layout["salt"].shape),
                "take": In(1),
                "job": In(ceil_log2(config.jobs)),
                "seq": In(field_shape(PACKET, "seq")),
                "base": In(slot),
                "mask": In(slot),
                "slot": Out(slot),
            }
        )

    def elaborate(self, platform):
        m = Module()

        width = len(self.slot)
        job = Signal(16)
        seq = self.seq[:16]
        hashed = Signal(width, reset_less=True)
        number = Signal(width, reset_less=True)
        in_use = Signal(width)
        is_static = Signal()
        m.d.comb += job.eq(self.job)
        m.d.sync += [
            in_use.eq((1 << self.slots_log2) - 1),
            is_static.eq(self.policy == Policy.SWITCHML),
        ]
        with m.If(self.take):
            m.d.sync += [
                hashed.eq(_crc32(Cat(job, seq, self.salt), width)),
                number.eq(self.seq),
            ]
        m.d.comb += self.slot.eq(Mux(is_static, self.base | (number & self.mask), hashed & in_use))

        return m
