"""The row engine: every row that was announced finds its place in the egress queue, none else
comes; by k-induction on slots of two rows and a queue of eight.
"""

import pytest
from amaranth.hdl import Assume, Cat, Const, Cover, Mux, Signal

from eyas.interfaces.switch.config import SwitchConfig
from hdl.switch.layouts import ROW_BITS, operation_layout
from hdl.switch.out.egress import EgressQueue
from hdl.switch.rows.row_engine import RowEngine
from hdl.switch.rows.row_feeder import RowFeeder
from hdl.switch.rows.row_lanes import RowLanes, step_layout
from tests.formal.harness import keep_contract, mutant, prove, require
from tests.formal.test_stream import ring_invariants

pytestmark = pytest.mark.formal

AGES = 1 + RowLanes.latency
CONFIG = SwitchConfig(slots=2, slot_bytes=64, jobs=2, ingress_beats=16, egress_rows=8)


def total(values):
    """A sum that does not wrap."""
    sums = Const(0, 8)
    for value in values:
        sums = (sums + value)[:8]
    return sums


def row_properties(m, dut, inside):
    """Rows in the queue and rows still to come are those announced: the queue never overflows, a
    row never comes before its header, and when the engine is idle nothing is missing.

    Operations are any at all whose length fits a slot.
    """
    keep_contract(m, "operation", dut.operation, assume=True)
    m.d.comb += Assume(dut.operation.payload.header.length <= CONFIG.slot_bytes)
    m.d.comb += Assume(dut.operation.payload.beats <= CONFIG.payload_beats)

    announce, rows = inside("feeder.announce"), inside("feeder.rows")
    row_valid, lacking = inside("lanes.row_valid"), inside("queue.lacking")
    put, room = inside("queue.queue.w_en"), inside("queue.queue.i__ready")
    free, level = inside("queue.free"), inside("queue.queue.level")

    due = Signal(8)  # rows announced and not yet in the queue, headers included
    m.d.sync += due.eq(due + Mux(announce, rows + 1, 0) - put)
    require(m, "no_row_is_lost", ~put | room)
    require(m, "no_header_is_lost", ~announce | inside("queue.headers.i__ready"))
    require(m, "a_row_follows_its_header", ~row_valid | (lacking != 0))
    require(m, "rows_are_those_announced", free + level + due == CONFIG.egress_rows)
    require(m, "idle_means_all_are_there", ~dut.idle | (due == 0))

    _order(m, inside, announce, lacking, due)

    full = inside("feeder.full")
    held_emits = inside("feeder.held")[operation_layout(CONFIG)["emits"].offset]
    inside.invariant("silent_operations_have_no_rows", ~full | held_emits | (rows == 0))

    m.d.comb += Cover((level == CONFIG.egress_rows) & full)


def _order(m, inside, announce, lacking, due):
    """Which packet each row on its way belongs to.

    Rows travel from their step to the queue in ``AGES`` cycles.  The packet of a row is known by
    how many were announced behind it: the headers that wait are those of the latest packets.
    """
    announced = Signal(AGES)  # by age, the youngest lowest
    m.d.sync += announced.eq(Cat(announce, announced))
    emits = step_layout(CONFIG)["emit"].offset
    steps = [inside("feeder.step"), *(inside(f"lanes.s{stage}_step") for stage in range(1, AGES))]
    live = inside("lanes.live")
    rows = [live[age] & step[emits] for age, step in enumerate(steps)]
    behind = [total(announced[:age]) for age in range(AGES)]
    rows_left = inside("feeder.rows_left")

    def rows_of(packet):
        """Rows on their way of a packet with so many behind it."""
        last = Mux(packet == 0, rows_left, 0)
        return total(
            [last, *(row & (packet == after) for row, after in zip(rows, behind, strict=True))]
        )

    waiting = inside("queue.headers.level")
    consume = inside("queue.headers.queue.consume")
    produce = inside("queue.headers.queue.produce")
    ring_invariants(inside, "headers", waiting, produce, consume, EgressQueue.pending)
    in_headers = []
    for packet in range(EgressQueue.pending):
        address = Signal(2, name=f"address{packet}")
        m.d.comb += address.eq(produce - 1 - packet)
        word = inside.memory_word("queue.headers.queue.storage", address)
        header_rows = word[ROW_BITS:]
        here = packet < waiting
        in_headers.append(Mux(here, header_rows, 0))
        inside.invariant(f"rows_of_{packet}", ~here | (header_rows == rows_of(Const(packet, 3))))
    inside.invariant("waiting", waiting <= total(announced))
    inside.invariant("lacking", lacking == rows_of(waiting))
    for age in range(AGES):
        inside.invariant(f"packet_{age}", ~rows[age] | (behind[age] <= waiting))
        inside.invariant(f"apart_{age}", ~(announced[age] & live[age]))
    inside.invariant("due", due == total([lacking, waiting, *in_headers]))
    m.d.comb += Cover((waiting == 2) & rows[-1])


def test_no_row_is_lost(tmp_path):
    def faulty(component, old, new):
        part = mutant(component, old, new)
        return lambda: mutant(RowEngine, **{component.__name__: part})(CONFIG)

    prove(
        lambda: RowEngine(CONFIG),
        row_properties,
        tmp_path,
        depth=3,
        cover_depth=18,
        faults={
            "no_room_for_the_header": (
                faulty(EgressQueue, "free > self.rows", "free >= self.rows"),
                "rows_are_those_announced",
            ),
            "header_amid_rows": (
                faulty(EgressQueue, "headers.o.ready.eq(lacking == 0)", "headers.o.ready.eq(1)"),
                "idle_means_all_are_there",
            ),
            "row_too_many": (
                faulty(RowFeeder, "rows_left - emit)", "rows_left - (emit & ~last))"),
                "a_row_follows_its_header",
            ),
        },
    )
