"""The bus parts side by side in one design: one build for all benches."""

from amaranth.hdl import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from eyas.interfaces.fields import Access, Field, Register, RegisterBlock
from hdl.parts.axi import Axi4
from hdl.parts.burst_reader import BurstReader
from hdl.parts.burst_writer import BurstWriter
from hdl.parts.register_file import RegisterFile
from hdl.parts.stream import StreamBuffer, StreamFifo

__all__ = ["BLOCK", "DEPTHS", "FAULTS", "OUTSTANDING", "WIDTH", "BusParts", "FaultyStream"]

BLOCK = RegisterBlock(
    "bench",
    64,
    "Each access, with fields that leave gaps and fill words.",
    (
        Register("state", 0x00, Access.R, "State.", (Field("value", 32, "bits"),)),
        Register("part", 0x04, Access.R, "Part.", (Field("value", 9, "bits", offset=5),)),
        Register("command", 0x08, Access.W, "Command.", (Field("value", 20, "bits", offset=4),)),
        Register(
            "setting", 0x0C, Access.RW, "Setting.",
            (Field("low", 10, "bits", reset=0x155), Field("high", 8, "bits", offset=24, reset=3)),
        ),
        Register("word", 0x10, Access.RW, "Word.", (Field("value", 32, "bits"),)),
        Register(
            "event", 0x20, Access.RW1C, "Events.",
            (Field("low", 12, "bits", reset=0x801), Field("high", 4, "bits", offset=28)),
        ),
    ),
)  # fmt: skip
"""Registers with holes between them."""

WIDTH = 24
"""Bits of an item of the buffer and the queues."""
DEPTHS = {"least": 2, "shallow": 7, "deep": 50}
"""Queues: in LUT RAM, the same, in block RAM."""
OUTSTANDING = 4
FAULTS = ("dropped", "changed", "dependent", "waiting")
"""Ways to break the contract of a stream, with which the checkers are checked."""


class FaultyStream(wiring.Component):
    """A stream that breaks the contract in the way ``fault``.

    Members
    -------
    o : Out(stream of 8)
        ``dropped``: valid every other cycle; ``changed``: another payload each cycle;
        ``dependent``: valid is ready; ``waiting``: valid is the ready of the cycle before.
    """

    o: Out(stream.Signature(8))

    def __init__(self, fault):
        if fault not in FAULTS:
            raise ValueError(f"Fault must be one of {', '.join(FAULTS)}, not {fault!r}")
        self.fault = fault
        super().__init__()

    def elaborate(self, platform):
        m = Module()

        if self.fault == "dropped":
            m.d.sync += self.o.valid.eq(~self.o.valid)
        elif self.fault == "changed":
            m.d.comb += self.o.valid.eq(1)
            m.d.sync += self.o.payload.eq(self.o.payload + 1)
        elif self.fault == "dependent":
            m.d.comb += self.o.valid.eq(self.o.ready)
        else:
            m.d.sync += self.o.valid.eq(self.o.ready)

        return m


class BusParts(wiring.Component):
    """Register file on ``s_axi``; burst reader and writer on ``m_axi``; buffer and queues;
    streams that break the contract."""

    def __init__(self):
        self.registers = RegisterFile(BLOCK)
        self.reader = BurstReader(outstanding=OUTSTANDING)
        self.writer = BurstWriter(outstanding=OUTSTANDING)
        self.queues = {"buffer": StreamBuffer(WIDTH)}
        self.queues |= {name: StreamFifo(WIDTH, depth) for name, depth in DEPTHS.items()}
        self.parts = {
            "read": (self.reader, ("request", "o", "response", "idle")),
            "write": (self.writer, ("request", "i", "response", "idle")),
        }
        self.parts |= {
            name: (part, tuple(part.signature.members)) for name, part in self.queues.items()
        }
        self.parts |= {fault: (FaultyStream(fault), ("o",)) for fault in FAULTS}
        registers = self.registers.signature.members
        members = {"s_axi": registers["bus"], "m_axi": Out(Axi4())}
        members |= {name: member for name, member in registers.items() if name != "bus"}
        for prefix, (part, names) in self.parts.items():
            members |= {f"{prefix}_{name}": part.signature.members[name] for name in names}
        super().__init__(members)

    def elaborate(self, platform):
        m = Module()

        m.submodules.registers = self.registers
        for name, member in self.registers.signature.members.items():
            inner, outer = getattr(self.registers, name), getattr(self, name, None)
            if name == "bus":
                wiring.connect(m, inner, wiring.flipped(self.s_axi))
            else:
                m.d.comb += inner.eq(outer) if member.flow == In else outer.eq(inner)

        for prefix, (part, names) in self.parts.items():
            m.submodules[prefix] = part
            for name in names:
                inner, outer = getattr(part, name), getattr(self, f"{prefix}_{name}")
                if part.signature.members[name].is_port:
                    m.d.comb += outer.eq(inner)
                else:
                    wiring.connect(m, inner, wiring.flipped(outer))

        channels = {"ar": self.reader, "r": self.reader}
        channels |= dict.fromkeys(("aw", "w", "b"), self.writer)
        for name, part in channels.items():
            wiring.connect(
                m, getattr(part, f"bus_{name}"), wiring.flipped(getattr(self.m_axi, name))
            )

        return m
