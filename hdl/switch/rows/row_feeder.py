"""Turns operations into steps of the lanes, each begun only when all its rows have room."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from eyas.interfaces.switch.config import ROW_BYTES, SwitchConfig
from eyas.interfaces.switch.packet import Lanes
from hdl.switch.layouts import RowAction, header_layout, operation_layout
from hdl.switch.rows.row_lanes import RowLanes, step_layout

__all__ = ["RowFeeder"]


class RowFeeder(wiring.Component):
    """Walks an operation's payload and rows, a step a cycle, without a pause.

    An operation takes as many steps as it has beats of payload, or more where more rows leave, and
    a cycle for its header.  As many rows leave as the header's ``length`` says.

    Operations on one slot keep so far apart that a step sees what those before it wrote; at the
    rate at which packets come in (a header of 4 beats ahead of each payload), that takes nothing.

    Latency: 2 cycles from an operation to its announcement, 4 to its first step at the lanes.

    Parameters
    ----------
    config : SwitchConfig
        Depths.

    Members
    -------
    operation : In(stream of operation_layout)
        What is to be done; ``header.length`` is at most ``config.slot_bytes``.
    read_address : Out
        Address in the packet buffer, whose data are the next cycle's ``beat`` of the lanes.
    release : Out(1)
        ``release_beats`` of the packet buffer are free.
    rows, fits, announce, header
        To the EgressQueue.
    valid, step : Out
        To the RowLanes.
    idle : Out(1)
        Nothing is under way here.
    """

    def __init__(self, config: SwitchConfig):
        self.config = config
        super().__init__(
            {
                "operation": In(stream.Signature(operation_layout(config))),
                "read_address": Out(ceil_log2(config.ingress_beats)),
                "release": Out(1),
                "release_beats": Out(range(config.payload_beats + 1)),
                "rows": Out(range(config.slot_rows + 1)),
                "fits": In(1),
                "announce": Out(1),
                "header": Out(header_layout),
                "valid": Out(1),
                "step": Out(step_layout(config)),
                "idle": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()

        # The next operation: taken, then checked for a cycle, then started.
        full = Signal()
        checked = Signal()
        start = Signal()
        held = Signal(self.operation.payload.shape(), reset_less=True)
        arriving = self.operation.payload
        length = arriving.header.length
        below = ceil_log2(ROW_BYTES)
        m.d.comb += self.operation.ready.eq(~full)
        m.d.sync += checked.eq(full & ~start)
        with m.If(~full):
            m.d.sync += [
                full.eq(self.operation.valid),
                held.eq(arriving),
                self.rows.eq(Mux(arriving.emits, length[below:] + length[:below].any(), 0)),
            ]
        with m.Elif(start):
            m.d.sync += full.eq(0)

        active, writes = self._walk(m, held, start)
        near = self._near(m, held, start, writes)
        m.d.comb += [
            start.eq(checked & ~active & ~near & (self.fits | ~held.emits)),
            self.header.eq(held.header),
            self.announce.eq(start & held.emits),
            self.idle.eq(~full & ~active & ~self.valid),
        ]
        return m

    def _near(self, m, held, start, writes):
        """Return whether the slot was written so lately that the lanes would read too early."""
        # Steps that wrote, by how many cycles ago.  What is written to any other slot than the
        # last one is old enough when the last one's operation has had its cycles.
        recent = Signal(RowLanes.write_latency - 2)
        slot = Signal.like(held.slot, reset_less=True)
        same = Signal()
        m.d.sync += [recent.eq(Cat(writes, recent)), same.eq(held.slot == slot)]
        with m.If(start & _writes(held.action)):
            m.d.sync += slot.eq(held.slot)
        return Mux(same, recent.any(), recent[0])

    def _walk(self, m, held, start):
        """Step through a started operation; return whether there is a step in this
        cycle, and whether it writes."""
        beats_left = Signal.like(held.beats)
        rows_left = Signal.like(self.rows)
        now = Signal.like(self.step, reset_less=True)
        address = Signal.like(self.read_address, reset_less=True)
        payload = Signal()
        active = Signal()
        writes = Signal()
        m.d.comb += [
            payload.eq(beats_left.any()),
            active.eq(payload | rows_left.any()),
            writes.eq(payload & now.write),
            self.read_address.eq(address),
        ]

        # A row ends with its last part, or with the payload; rows beyond the payload have none.
        parts = Mux(now.lanes == Lanes.INT32, 3, Mux(now.lanes == Lanes.UINT8, 1, 0))
        last = beats_left == 1
        starts = ~payload | (now.part == 0)
        ends = ~payload | last | (now.part == parts)
        emit = rows_left.any() & Mux(now.old, starts, ends)

        m.d.sync += [
            self.valid.eq(active),
            self.step.eq(now),
            self.step.write.eq(writes),
            self.step.first.eq(now.first & payload),
            self.step.emit.eq(emit),
            self.release.eq(payload & last),
        ]
        with m.If(active):
            m.d.sync += [
                address.eq(address + 1),
                beats_left.eq(beats_left - payload),
                rows_left.eq(rows_left - emit),
                now.part.eq(Mux(ends, 0, now.part + 1)),
                now.address.eq(now.address + ends),
                now.first.eq(0),
            ]

        action = held.action
        with m.If(start):
            reads = _writes(action) | (action == RowAction.PASS)
            m.d.sync += [
                address.eq(held.start),
                beats_left.eq(Mux(reads, held.beats, 0)),
                rows_left.eq(self.rows),
                now.address.eq(held.slot << ceil_log2(self.config.slot_rows)),
                now.part.eq(0),
                now.lanes.eq(Mux(action == RowAction.PASS, Lanes.INT32, held.lanes)),
                now.first.eq(1),
                now.job.eq(held.job),
                now.store.eq(action != RowAction.ADD),
                now.write.eq(_writes(action)),
                now.old.eq(_any(action, RowAction.NONE, RowAction.SWAP, RowAction.READ)),
                self.release_beats.eq(held.beats),
                self.release.eq(~reads & held.beats.any()),
            ]
        return active, writes


def _writes(action):
    """Whether an operation writes its payload to the slot."""
    return _any(action, RowAction.CLAIM, RowAction.SWAP, RowAction.ADD)


def _any(value, *choices):
    """Whether ``value`` is one of ``choices``."""
    return Cat(value == choice for choice in choices).any()
