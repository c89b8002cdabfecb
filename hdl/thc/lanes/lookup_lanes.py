"""Adds packets of compressed gradients in place, without decompressing them."""

from amaranth.hdl import Cat, Module, Mux, Signal, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from eyas.interfaces.thc.config import LANE_WIDTH, ThcConfig
from hdl.thc.lanes.lane_adder import lane_sum, raw_sum_layout, saturated
from hdl.thc.lanes.packets import Emit, beat_layout, row_layout
from hdl.thc.lanes.table_lookup import TableLookup, TableWritePort

__all__ = ["LookupLanes"]


def _control_layout(config: ThcConfig):
    """What goes with a beat from stage to stage."""
    return data.StructLayout(
        {
            "address": ceil_log2(config.slots * config.slot_rows),
            "wide": 1,
            "odd": 1,  # narrow: the row's second beat, which is summed in the upper bytes
            "store": 1,
            "emit": 2,
            "old_wide": 1,
            "last": 1,
        }
    )


class LookupLanes(wiring.Component):
    """Looks up a beat of indices a cycle and adds the entries to the sums of a slot.

    A packet is up to ``config.packet_beats(wide)`` beats; its header (:func:`header_layout`) says
    what is to be done.  A lane holds one sum of 16 bits, or two of 8 bits of successive beats, the
    first in the low byte: a row is written and read whole.  A sum that does not fit stays at the
    greatest value of its lane and never reaches a neighbour.

    Has no back-pressure, so that a packet never stands half added: whoever starts a packet that
    emits has room for its rows.

    Throughput: a beat a cycle, also when packets of one beat hit one slot one after the other:
    what is still on its way to the memory is forwarded.  Latency: 6 cycles from a beat to its row;
    a slot's memory holds a sum 5 cycles after its beat.

    Parameters
    ----------
    config : ThcConfig
        Widths and depths.

    Members
    -------
    table : In(TableWritePort)
        Sets a job's table, while no packet of the job is under way.
    valid : In(1)
        ``beat`` is here, and is taken.
    beat : In(beat_layout)
        Indices, and the header with a packet's first beat.
    row_valid : Out(1)
        ``row`` is here for this cycle.
    row : Out(row_layout)
        Sums that leave, of packets with ``emit``.
    idle : Out(1)
        No beat is under way.
    """

    latency = 6

    def __init__(self, config: ThcConfig):
        if not isinstance(config, ThcConfig):
            raise TypeError(f"Config must be a ThcConfig, not {config!r}")
        self.config = config
        super().__init__(
            {
                "table": In(TableWritePort(config)),
                "valid": In(1),
                "beat": In(beat_layout(config)),
                "row_valid": Out(1),
                "row": Out(row_layout(config)),
                "idle": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self.config
        lanes = config.lanes

        m.submodules.lookup = lookup = TableLookup(config)
        m.submodules.memory = memory = Memory(
            shape=unsigned(config.row_bits), depth=config.slots * config.slot_rows, init=[]
        )
        read = memory.read_port()
        write = memory.write_port()

        # Where each beat stands, by stage: 1 address the memory and look up, 2 take the row,
        # 3 add, 4 write, 5 emit.
        valid = Signal(6)
        control = [
            Signal(_control_layout(config), name=f"s{stage}_control", reset_less=True)
            for stage in range(6)
        ]
        s1, s2, s3, s4 = control[1:5]
        m.d.comb += valid[0].eq(self.valid)
        m.d.sync += valid[1:].eq(valid[:-1])
        m.d.comb += self.idle.eq(~valid[1:].any() & ~self.row_valid)
        for stage in range(2, 6):
            m.d.sync += control[stage].eq(control[stage - 1])

        self._address(m, control[0], s1)
        wiring.connect(m, wiring.flipped(self.table), lookup.write)
        silent = Signal()
        with m.If(self.valid & self.beat.first):
            m.d.sync += silent.eq(self.beat.header.silent)
        m.d.comb += [
            lookup.valid.eq(self.valid),
            lookup.first.eq(self.beat.first),
            lookup.job.eq(self.beat.header.job),
            lookup.beat.eq(self.beat.data),
            lookup.silent.eq(silent),
            read.addr.eq(s1.address),
            read.en.eq(1),
        ]

        # Whether the beats 1, 2 and 3 places ahead go to the same row.
        near = Signal(3)
        s3_near = Signal()
        for place in range(3):
            same = control[2 + place].address == s1.address
            m.d.sync += near[place].eq(valid[2 + place] & same)
        m.d.sync += s3_near.eq(near[0])

        # Stage 2: the row as it stands, from the memory or from what is on its way there.
        raw = Signal(data.ArrayLayout(raw_sum_layout, lanes), reset_less=True)
        total = Signal(config.row_bits)
        written = Signal(config.row_bits, reset_less=True)
        m.d.comb += total.eq(Cat(saturated(raw[lane], s4.wide) for lane in range(lanes)))
        m.d.sync += written.eq(total)
        row = Signal(config.row_bits, reset_less=True)
        m.d.sync += row.eq(Mux(near[1], total, Mux(near[2], written, read.data)))
        s2_upper = Signal()
        low = Signal.like(lookup.values, reset_less=True)
        high = Signal.like(lookup.values, reset_less=True)
        m.d.comb += s2_upper.eq(~s2.wide & s2.odd)
        for lane in range(lanes):
            value = lookup.values[lane]
            m.d.sync += [
                low[lane].eq(Mux(s2_upper, 0, value)),
                high[lane].eq(Mux(s2_upper, value, 0)),
            ]

        # Stage 3: add.
        old = Signal(config.row_bits)
        prior = Signal(config.row_bits, reset_less=True)
        m.d.comb += old.eq(Mux(s3_near, total, row))
        m.d.sync += prior.eq(old)
        # Storing, a row's first beat takes the place of both its bytes.
        keep_low, keep_high = ~s3.store | (~s3.wide & s3.odd), ~s3.store
        kept = Cat(keep_low.replicate(8), keep_high.replicate(8))
        for lane in range(lanes):
            m.d.sync += raw[lane].eq(
                lane_sum(old.word_select(lane, LANE_WIDTH) & kept, low[lane], high[lane], s3.wide)
            )

        # Stage 4: write.
        m.d.comb += [
            write.en.eq(valid[4]),
            write.addr.eq(s4.address),
            write.data.eq(total),
        ]

        # Stage 5: let out.
        s5_prior = Signal.like(prior, reset_less=True)
        m.d.sync += s5_prior.eq(prior)
        self._emit(m, valid[5], control[5], s5_prior, written)

        return m

    def _address(self, m, s0, s1):
        """Count a packet's beats into the row of each."""
        config = self.config
        header = self.beat.header
        row = Signal(range(config.slot_rows))
        odd = Signal()
        kept = Signal.like(header, reset_less=True)
        now = Signal.like(header)
        here_row = Signal.like(row)
        here_odd = Signal()
        first = self.beat.first
        m.d.comb += [
            now.eq(Mux(first, header.as_value(), kept.as_value())),
            here_row.eq(Mux(first, 0, row)),
            here_odd.eq(odd & ~first),
            s0.address.eq(Cat(here_row, now.slot)),
            s0.wide.eq(now.wide),
            s0.odd.eq(here_odd & ~now.wide),
            s0.store.eq(now.store),
            s0.emit.eq(now.emit),
            s0.old_wide.eq(now.old_wide),
            s0.last.eq(self.beat.last),
        ]
        m.d.sync += s1.eq(s0)
        with m.If(self.valid):
            m.d.sync += [
                kept.eq(now),
                odd.eq(~here_odd),
                row.eq(here_row + (now.wide | here_odd)),
            ]

    def _emit(self, m, valid, control, prior, total):
        """Bring a row into the order of coordinates and offer it."""
        lanes = self.config.lanes
        half = self.config.row_bits // 2

        # A row's first beat finds the old sums whole; its last one leaves the new ones whole.
        is_old = control.emit == Emit.OLD
        ends_row = control.wide | control.odd | control.last
        chosen = Mux(is_old, prior, total)
        words = [chosen.word_select(lane, LANE_WIDTH) for lane in range(lanes)]
        bytes_in_order = Cat(*(word[:8] for word in words), *(word[8:] for word in words))
        row = Signal(row_layout(self.config), reset_less=True)
        m.d.comb += self.row.eq(row)
        m.d.sync += [
            self.row_valid.eq(valid & (control.emit != Emit.NONE) & ends_row),
            row.last.eq(control.last),
        ]
        with m.If(valid & ~(is_old & control.odd)):
            wide = Mux(is_old, control.old_wide, control.wide)
            m.d.sync += row.sums.eq(Mux(wide, chosen, bytes_in_order))
            with m.If(~wide & ~is_old & ~control.odd):
                m.d.sync += row.sums[half:].eq(0)
