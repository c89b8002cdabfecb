"""The switch's core behind registers, so that the simulated board carries it without its rings."""

from amaranth.hdl import Cat, Module, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from eyas.interfaces.fields import Access, Field, Register, RegisterBlock
from eyas.interfaces.switch.config import SwitchConfig
from hdl.parts.axi import Axi4, AxiLite
from hdl.parts.register_file import RegisterFile
from hdl.parts.stream import StreamFifo
from hdl.switch.core import SwitchCore
from hdl.switch.decide.slot_records import slot_layout
from hdl.switch.layouts import egress_layout, event_layout, frame_layout

__all__ = ["EVENT_WORDS", "PORT_REGISTERS", "ROW_WORDS", "SwitchPort", "told_layout"]

ROW_WORDS = 8
EVENT_WORDS = 5


def _words(name: str, offset: int, count: int, access: Access) -> list[Register]:
    return [
        Register(f"{name}{i}", offset + 4 * i, access, "Word.", (Field("value", 32, "bits"),))
        for i in range(count)
    ]


PORT_REGISTERS = RegisterBlock(
    "switch_port",
    256,
    "A switch core.",
    (
        *_words("beat", 0x00, 2, Access.RW),
        Register(
            "frame", 0x08, Access.W, "Sends the beat.",
            (Field("bytes", 4, "of it"), Field("last", 1, "of its frame")),
        ),
        Register(
            "state", 0x0C, Access.R, "What is going on.",
            (
                Field("idle", 1, "all frames are worked on"),
                Field("ready", 1, "slots are cleared after the reset"),
                Field("flushing", 1, "a flush is under way"),
                Field("clearing", 1, "counters are being cleared"),
                Field("row", 1, "a row is there"),
                Field("last", 1, "it is its packet's last"),
                Field("event", 1, "an event is there"),
                Field("faults", 16, "frames that were no packets", offset=16),
            ),
        ),
        Register(
            "policy", 0x10, Access.RW, "Settings.",
            (
                Field("policy", 3, "Policy"),
                Field("slots_log2", 4, "slots in use"),
                Field("decay_after", 8, "collisions", offset=8),
                Field("age_limit", 8, "looks"),
            ),
        ),
        Register("salt", 0x14, Access.RW, "Settings.", (Field("salt", 16, "of the hash"),)),
        Register("job", 0x18, Access.RW, "For commands.", (Field("job", 8, "number"),)),
        Register(
            "entry", 0x1C, Access.RW, "Of the job table.",
            (
                Field("enabled", 1, "takes packets"),
                Field("lanes", 2, "Lanes"),
                Field("workers", 6, "number", offset=8),
                Field("needed", 6, "number", offset=16),
                Field("epoch", 8, "number", offset=24),
            ),
        ),
        Register(
            "own", 0x20, Access.RW, "Slots.",
            (Field("base", 16, "first"), Field("mask", 16, "number less one")),
        ),
        *_words("table", 0x24, 4, Access.RW),
        Register(
            "command", 0x34, Access.W, "Does it.",
            (
                Field("configure", 1, "set entry and table"),
                Field("flush", 1, "flush the job"),
                Field("look", 1, "look at the next slot"),
                Field("take_row", 1, "next row"),
                Field("take_event", 1, "next event"),
            ),
        ),
        Register("outcome", 0x38, Access.RW, "Names a counter.", (Field("outcome", 4, "number"),)),
        Register("count", 0x3C, Access.R, "A counter.", (Field("value", 32, "count"),)),
        *_words("row", 0x40, ROW_WORDS, Access.R),
        *_words("event", 0x60, EVENT_WORDS, Access.R),
    ),
)  # fmt: skip


def told_layout(config: SwitchConfig) -> data.StructLayout:
    """An event with the slot's record behind it."""
    return data.StructLayout({"event": event_layout(config), "record": slot_layout(config)})


class SwitchPort(wiring.Component):
    """A core with queues at its streams; has the ports of an overlay, its AXI master idle."""

    def __init__(self, config: SwitchConfig):
        self.config = config
        super().__init__(
            {
                "s_axi": In(AxiLite(ceil_log2(PORT_REGISTERS.size))),
                "m_axi": Out(Axi4()),
                "interrupt": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self.config
        m.submodules.registers = registers = RegisterFile(PORT_REGISTERS)
        m.submodules.core = core = SwitchCore(config)
        m.submodules.beats = beats = StreamFifo(frame_layout, 256)
        m.submodules.rows = rows = StreamFifo(egress_layout, 256)
        m.submodules.told = told = StreamFifo(told_layout(config), 64)
        wiring.connect(m, wiring.flipped(self.s_axi), registers.bus)
        wiring.connect(m, beats.o, core.i)
        wiring.connect(m, core.o, rows.i)

        command = {
            name: registers.command_strobe & registers.command[name]
            for name in ("configure", "flush", "look", "take_row", "take_event")
        }
        entry, state = registers.entry, registers.state
        lost = Signal()
        m.d.comb += [
            beats.i.valid.eq(registers.frame_strobe),
            beats.i.p.data.eq(Cat(registers.beat0.value, registers.beat1.value)),
            beats.i.p.bytes.eq(registers.frame.bytes),
            beats.i.p.last.eq(registers.frame.last),
            *(core.settings[name].eq(value) for name, value in self._settings(registers)),
            # One look: its period is up in this cycle alone.
            core.settings.scan_period.eq(command["look"]),
            *(
                core.job_write.entry[name].eq(entry[name])
                for name in ("enabled", "lanes", "workers", "needed", "epoch")
            ),
            core.job_write.entry.base.eq(registers.own.base),
            core.job_write.entry.mask.eq(registers.own.mask),
            core.job_write.job.eq(registers.job.job),
            core.job_write.enable.eq(command["configure"]),
            core.table.job.eq(registers.job.job),
            core.table.table.eq(Cat(getattr(registers, f"table{i}").value for i in range(4))),
            core.table.enable.eq(command["configure"]),
            core.flush.eq(command["flush"]),
            core.flush_job.eq(registers.job.job),
            core.counter_job.eq(registers.job.job),
            core.counter_outcome.eq(registers.outcome.outcome),
            registers.count.value.eq(core.counter_value),
            told.i.valid.eq(core.event_strobe),
            told.i.p.event.eq(core.event),
            told.i.p.record.eq(core.event_record),
            told.o.ready.eq(command["take_event"]),
            rows.o.ready.eq(command["take_row"]),
            state.idle.eq(core.idle & ~beats.o.valid & (beats.level == 0) & ~lost),
            state.ready.eq(core.ready),
            state.flushing.eq(core.flushing),
            state.clearing.eq(core.clearing),
            state.row.eq(rows.o.valid),
            state.last.eq(rows.o.p.last),
            state.event.eq(told.o.valid),
            *(
                getattr(registers, f"row{i}").value.eq(rows.o.p.data.word_select(i, 32))
                for i in range(ROW_WORDS)
            ),
            *(
                getattr(registers, f"event{i}").value.eq(
                    Value.cast(told.o.payload)[32 * i : 32 * i + 32]
                )
                for i in range(EVENT_WORDS)
            ),
        ]
        faults = Signal(16)
        m.d.comb += state.faults.eq(faults)
        m.d.sync += faults.eq(faults + core.fault)
        with m.If(core.event_strobe & ~told.i.ready):
            m.d.sync += lost.eq(1)  # never idle again: whoever waits is told

        return m

    def _settings(self, registers):
        policy = registers.policy
        return [
            ("policy", policy.policy),
            ("slots_log2", policy.slots_log2),
            ("decay_after", policy.decay_after),
            ("age_limit", policy.age_limit),
            ("salt", registers.salt.salt),
        ]
