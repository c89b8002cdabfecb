"""The slots' sums: contributions are looked up and added in place, rows leave on the way."""

from amaranth.hdl import Cat, Module, Mux, Signal, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from eyas.interfaces.switch.config import ROW_BYTES, SwitchConfig
from eyas.interfaces.switch.packet import Lanes
from eyas.interfaces.thc.config import ThcConfig
from hdl.switch.layouts import ROW_BITS, lanes_shape
from hdl.switch.rows import lane_sums
from hdl.thc.lanes.table_lookup import TableLookup, TableWritePort

__all__ = ["RowLanes", "step_layout", "table_config"]

_WORD_BITS = 64
_WORDS = ROW_BITS // _WORD_BITS
_INDICES = 16


def table_config(config: SwitchConfig) -> ThcConfig:
    """Configuration of the switch's tables: sixteen 4-bit indices a beat."""
    return ThcConfig(jobs=config.jobs)


def step_layout(config: SwitchConfig) -> data.StructLayout:
    """What is done in a cycle: to one row of one slot, with at most one beat of payload.

    Members
    -------
    address
        The row: those of a slot lie one after the other.
    part : 2
        Which part of the row the beat belongs to, by ``lanes``: of two (UINT8), of one (UINT16),
        of four (INT32).
    lanes : Lanes
        Of the beat. A payload that passes through travels as INT32, with ``store``.
    first : 1
        The first beat of its payload; ``job``'s table serves from here on.
    job
        Whose table.
    store : 1
        The beat's values replace the part, else they are added to it.
    write : 1
        The part is written.
    emit : 1
        A row leaves.
    old : 1
        It is the row as it was, else the row's parts as they come out of this step and of those
        ahead of it; parts that no step had are undefined.
    """
    return data.StructLayout(
        {
            "address": ceil_log2(config.slots * config.slot_rows),
            "part": 2,
            "lanes": lanes_shape,
            "first": 1,
            "job": ceil_log2(config.jobs),
            "store": 1,
            "write": 1,
            "emit": 1,
            "old": 1,
        }
    )


class RowLanes(wiring.Component):
    """Slot memory with sixteen lookup lanes of 8 or 16 bits, and two of 32 bits signed.

    Sums that do not fit stay at the greatest (or least) value of their lane.  A row is kept as it
    travels: lane after lane, the first coordinate lowest.  Steps write parts of a row by byte
    enables, so that steps one after the other need nothing of each other.

    Has no back-pressure: whoever steps has room for the rows.  Throughput: a step a cycle.
    Latency: :attr:`latency` cycles from a step to its row; a step sees what was written
    :attr:`write_latency` cycles or more before it.

    Parameters
    ----------
    config : SwitchConfig
        Depths.

    Members
    -------
    table : In(TableWritePort)
        Sets a job's table, while no packet of the job is under way.
    valid : In(1)
        ``step`` and ``beat`` are here, and are taken.
    step : In(step_layout)
        What is to be done.
    beat : In(64)
        Payload.
    row_valid : Out(1)
        ``row`` is here for this cycle.
    row : Out(256)
        A row that leaves.
    idle : Out(1)
        No step is under way.
    """

    latency = 4
    write_latency = 5

    def __init__(self, config: SwitchConfig):
        self.config = config
        super().__init__(
            {
                "table": In(TableWritePort(table_config(config))),
                "valid": In(1),
                "step": In(step_layout(config)),
                "beat": In(_WORD_BITS),
                "row_valid": Out(1),
                "row": Out(ROW_BITS),
                "idle": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self.config

        m.submodules.lookup = lookup = TableLookup(table_config(config))
        m.submodules.memory = memory = Memory(
            shape=unsigned(ROW_BITS), depth=config.slots * config.slot_rows, init=[]
        )
        read = memory.read_port()
        write = memory.write_port(granularity=8)

        # Where each step stands: 0 address memory and table, 1 part the row, 2 add, 3 saturate,
        # 4 write and let out.
        live = Signal(5)
        steps = [self.step] + [
            Signal(step_layout(config), name=f"s{stage}_step", reset_less=True)
            for stage in range(1, 5)
        ]
        m.d.comb += [live[0].eq(self.valid), self.idle.eq(~live.any())]
        m.d.sync += live[1:].eq(live[:-1])
        m.d.sync += [steps[stage].eq(steps[stage - 1]) for stage in range(1, 5)]
        _s0, s1, _s2, s3, s4 = steps

        # Stage 0.
        wiring.connect(m, wiring.flipped(self.table), lookup.write)
        m.d.comb += [
            lookup.valid.eq(self.valid),
            lookup.first.eq(self.step.first),
            lookup.job.eq(self.step.job),
            lookup.beat.eq(self.beat),
            read.addr.eq(self.step.address),
            read.en.eq(1),
        ]

        # Stage 1: what each lane adds to.
        beat = [Signal(_WORD_BITS, name=f"s{stage}_beat", reset_less=True) for stage in (1, 2)]
        m.d.sync += [beat[0].eq(self.beat), beat[1].eq(beat[0])]
        old_lanes = Signal(data.ArrayLayout(16, _INDICES), reset_less=True)
        old_word = Signal(_WORD_BITS, reset_less=True)
        row = read.data
        wide = s1.lanes == Lanes.UINT16
        for lane in range(_INDICES):
            narrow = Mux(s1.part[0], _byte(row, _INDICES + lane), _byte(row, lane))
            m.d.sync += old_lanes[lane].eq(
                Mux(s1.store, 0, Mux(wide, row.word_select(lane, 16), narrow))
            )
        m.d.sync += old_word.eq(Mux(s1.store, 0, row.word_select(s1.part, _WORD_BITS)))

        # Stage 2: add.
        raw_lanes = Signal(data.ArrayLayout(lane_sums.UNSIGNED_RAW_BITS, _INDICES), reset_less=True)
        raw_word = Signal(data.ArrayLayout(lane_sums.SIGNED_RAW_BITS, 2), reset_less=True)
        for lane in range(_INDICES):
            m.d.sync += raw_lanes[lane].eq(
                lane_sums.add_unsigned(old_lanes[lane], lookup.values[lane])
            )
        for half in range(2):
            m.d.sync += raw_word[half].eq(
                lane_sums.add_signed(old_word.word_select(half, 32), beat[1].word_select(half, 32))
            )

        # Stage 3: saturate, and bring the sums to their part of the row.
        new = Signal(ROW_BITS, reset_less=True)
        wide, packed = s3.lanes == Lanes.UINT16, s3.lanes == Lanes.INT32
        lanes = Signal(ROW_BITS)
        word = Signal(_WORD_BITS)
        m.d.comb += [
            lanes.eq(Cat(lane_sums.unsigned(raw_lanes[lane], wide) for lane in range(_INDICES))),
            word.eq(Cat(lane_sums.signed(raw_word[half]) for half in range(2))),
        ]
        enable = Signal(ROW_BYTES)
        write_enable = Signal(ROW_BYTES)
        for number in range(ROW_BYTES):
            narrow = _byte(lanes, 2 * (number % _INDICES))
            in_word = _byte(word, number % (_WORD_BITS // 8))
            m.d.comb += enable[number].eq(
                Mux(
                    packed,
                    s3.part == number // (ROW_BYTES // _WORDS),
                    wide | (s3.part[0] == number // _INDICES),
                )
            )
            with m.If(enable[number]):
                m.d.sync += _byte(new, number).eq(
                    Mux(packed, in_word, Mux(wide, _byte(lanes, number), narrow))
                )
        m.d.sync += write_enable.eq(Mux(live[3] & s3.write, enable, 0))

        # Stage 4: write, and let out. The row as it was has come here step by step.
        before = row
        for stage in range(2, 5):
            held = Signal(ROW_BITS, name=f"s{stage}_before", reset_less=True)
            m.d.sync += held.eq(before)
            before = held
        m.d.comb += [
            write.addr.eq(s4.address),
            write.data.eq(new),
            write.en.eq(write_enable),
            self.row_valid.eq(live[4] & s4.emit),
            self.row.eq(Mux(s4.old, before, new)),
        ]

        return m


def _byte(value, number):
    return value.word_select(number, 8)
