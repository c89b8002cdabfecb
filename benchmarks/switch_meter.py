"""The switch core between a source that always has a beat and a sink that always takes a row."""

from amaranth.hdl import Cat, Const, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from eyas.interfaces.fields import Access, Field, Register, RegisterBlock
from eyas.interfaces.switch.config import WORD_BYTES, SwitchConfig
from eyas.interfaces.switch.packet import HEADER_BYTES, PACKET
from hdl.parts.axi import Axi4, AxiLite
from hdl.parts.burst_reader import BurstReader
from hdl.parts.register_file import RegisterFile
from hdl.parts.stream import StreamFifo
from hdl.switch.core import SwitchCore

__all__ = ["METER_REGISTERS", "SwitchMeter"]

HEADER_BEATS = HEADER_BYTES // WORD_BYTES


def _count(name: str, offset: int, doc: str) -> Register:
    return Register(name, offset, Access.R, doc, (Field("value", 32, doc),))


def _setting(name: str, offset: int, doc: str) -> Register:
    return Register(name, offset, Access.RW, doc, (Field("value", 32, doc),))


METER_REGISTERS = RegisterBlock(
    "switch_meter",
    64,
    "Traffic and counts of a measurement.",
    (
        Register(
            "setup",
            0,
            Access.RW,
            "The switch's settings.",
            (Field("policy", 3, "Policy"), Field("slots_log2", 4, "slots in use")),
        ),
        Register(
            "job",
            4,
            Access.W,
            "Enables a job, epoch 0.",
            (Field("job", 5, "job"), Field("workers", 6, "workers"), Field("lanes", 2, "Lanes")),
        ),
        _setting("source", 8, "address of the frames, one after the other, whole beats each"),
        _setting("beats", 12, "beats of all frames"),
        _setting("packets", 16, "frames, at least 1"),
        Register("command", 20, Access.W, "Begins.", (Field("start", 1, "1: begin"),)),
        _count("offered", 24, "cycles with a beat offered, first and last packet left out"),
        _count("taken", 28, "beats taken, likewise"),
        _count("starved", 32, "cycles in which the source had none, likewise"),
        _count("packets_out", 36, "packets that left"),
        _count("rows_out", 40, "rows that left, headers included"),
        _count("latency", 44, "cycles from the last frame's last beat to the first row after it"),
        _count("ready", 48, "1: the switch takes jobs"),
    ),
)


class SwitchMeter(wiring.Component):
    """Sends frames from DRAM back to back into a SwitchCore and counts; the interrupt tells the
    end.

    Has the ports of an overlay, so that the simulated board carries it.
    """

    ahead = 2048
    """Beats that wait before the first one is sent, so that DRAM never makes the core wait."""

    def __init__(self, config: SwitchConfig):
        self.config = config
        super().__init__(
            {
                "s_axi": In(AxiLite(ceil_log2(METER_REGISTERS.size))),
                "m_axi": Out(Axi4()),
                "interrupt": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()

        m.submodules.registers = registers = RegisterFile(METER_REGISTERS)
        m.submodules.core = core = SwitchCore(self.config)
        m.submodules.reader = reader = BurstReader()
        m.submodules.waiting = waiting = StreamFifo(64, 2 * self.ahead)
        wiring.connect(m, wiring.flipped(self.s_axi), registers.bus)
        wiring.connect(m, reader.bus_ar, wiring.flipped(self.m_axi.ar))
        wiring.connect(m, wiring.flipped(self.m_axi.r), reader.bus_r)
        setup = registers.setup

        job_strobe = Signal()
        m.d.sync += job_strobe.eq(registers.job_strobe)
        m.d.comb += [
            core.settings.policy.eq(setup.policy),
            core.settings.slots_log2.eq(setup.slots_log2),
            core.job_write.enable.eq(job_strobe),
            core.job_write.job.eq(registers.job.job),
            core.job_write.entry.enabled.eq(1),
            core.job_write.entry.workers.eq(registers.job.workers),
            core.job_write.entry.needed.eq(registers.job.workers),
            core.job_write.entry.lanes.eq(registers.job.lanes),
            core.job_write.entry.mask.eq(1),
            core.table.enable.eq(job_strobe),
            core.table.job.eq(registers.job.job),
            core.table.table.eq(Cat(Const(entry, 8) for entry in range(16))),
            registers.ready.value.eq(core.ready),
        ]

        # Frames on their way from memory.
        requested = Signal()
        with m.If(reader.request.valid & reader.request.ready):
            m.d.sync += requested.eq(0)
        m.d.comb += [
            reader.request.valid.eq(requested),
            reader.request.p.address.eq(registers.source.value),
            reader.request.p.beats.eq(registers.beats.value),
            reader.response.ready.eq(1),
            waiting.i.valid.eq(reader.o.valid),
            waiting.i.payload.eq(reader.o.payload.data),
            reader.o.ready.eq(waiting.i.ready),
        ]

        # The source: beats that wait, with the end of each frame as its header has it.
        running, sending = Signal(), Signal()
        packet = Signal(32)
        beat, left = Signal(range(HEADER_BEATS + 1)), Signal(12)
        place = PACKET.offsets["length"] % 64
        length = waiting.o.payload[place : place + 12]
        in_header = beat < HEADER_BEATS - 1
        ends_header = beat == HEADER_BEATS - 1
        last = (ends_header & (length == 0)) | (~in_header & ~ends_header & (left == 1))
        takes = core.i.valid & core.i.ready
        begun = (waiting.level >= self.ahead) | (~requested & reader.idle)
        m.d.comb += [
            core.i.valid.eq(sending & waiting.o.valid),
            core.i.p.data.eq(waiting.o.payload),
            core.i.p.bytes.eq(WORD_BYTES),
            core.i.p.last.eq(last),
            waiting.o.ready.eq(sending & core.i.ready),
        ]
        with m.If(running & begun):
            m.d.sync += sending.eq(1)
        with m.If(takes):
            with m.If(beat < HEADER_BEATS):
                m.d.sync += beat.eq(beat + 1)
            m.d.sync += left.eq(left - 1)
            with m.If(ends_header):
                m.d.sync += left.eq(length >> ceil_log2(WORD_BYTES))
            with m.If(last):
                m.d.sync += [beat.eq(0), packet.eq(packet + 1)]
                with m.If(packet == registers.packets.value - 1):
                    m.d.sync += [running.eq(0), sending.eq(0)]

        # The sink, and the counts.
        m.d.comb += core.o.ready.eq(1)
        counted = sending & (packet != 0) & (packet != registers.packets.value - 1)
        offered, taken, starved = Signal(32), Signal(32), Signal(32)
        packets_out, rows_out, latency = Signal(32), Signal(32), Signal(32)
        ended, since, silent = Signal(), Signal(32), Signal(8)
        m.d.sync += [
            offered.eq(offered + (counted & core.i.valid)),
            taken.eq(taken + (counted & takes)),
            starved.eq(starved + (counted & ~core.i.valid)),
            rows_out.eq(rows_out + core.o.valid),
            packets_out.eq(packets_out + (core.o.valid & core.o.p.first)),
            since.eq(since + 1),
        ]
        with m.If(takes & last):
            m.d.sync += [since.eq(1), ended.eq(packet == registers.packets.value - 1)]
        with m.If(ended & core.o.valid & core.o.p.first & (latency == 0)):
            m.d.sync += latency.eq(since)

        # Quiet for a while: nothing will leave any more.
        m.d.sync += self.interrupt.eq(ended & silent.all())
        with m.If(~core.idle | ~ended):
            m.d.sync += silent.eq(0)
        with m.Elif(~silent.all()):
            m.d.sync += silent.eq(silent + 1)

        with m.If(registers.command_strobe):
            m.d.sync += [requested.eq(1), running.eq(1), ended.eq(0), self.interrupt.eq(0)]
            m.d.sync += [
                counter.eq(0)
                for counter in (packet, offered, taken, starved, packets_out, rows_out, latency)
            ]
        for name, counter in (
            ("offered", offered),
            ("taken", taken),
            ("starved", starved),
            ("packets_out", packets_out),
            ("rows_out", rows_out),
            ("latency", latency),
        ):
            m.d.comb += getattr(registers, name).value.eq(counter)

        return m
