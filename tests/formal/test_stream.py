"""StreamBuffer and StreamFifo: proofs by k-induction, on items of 4 bits."""

import pytest
from amaranth.hdl import Cover, Mux, Signal

from hdl.parts.stream import StreamBuffer, StreamFifo
from tests.formal.harness import Follower, keep_contract, mutant, prove, require, within

pytestmark = pytest.mark.formal

WIDTH = 4


def buffer_invariants(inside, name, items, path=""):
    """What a StreamBuffer that ``items`` follows holds within it."""
    spare, spare_full = inside(f"{path}spare"), inside(f"{path}spare_full")
    output, output_full = inside(f"{path}output"), inside(f"{path}output_full")
    inside.invariant(f"{name}_count", items.held == spare_full + output_full)
    inside.invariant(f"{name}_order", ~spare_full | output_full)
    inside.invariant(
        f"{name}_place", ~items.marked | (Mux(items.ahead == 0, output, spare) == items.value)
    )


def buffer_properties(m, dut, inside):
    """The items leave as they came, in order; a held one is offered at once."""
    keep_contract(m, "i", dut.i, assume=True)
    keep_contract(m, "o", dut.o)
    items = Follower.of_streams(m, "buffer", dut.i, dut.o, capacity=2)
    buffer_invariants(inside, "buffer", items)
    within(m, "output", 0, items.held != 0, dut.o.valid)
    within(m, "room", 0, items.held < 2, dut.i.ready)
    m.d.comb += Cover(items.marked & (items.ahead == 1) & dut.o.ready)


def ring(position, size):
    """``position`` less than twice ``size``, in a ring of that size."""
    return Mux(position >= size, position - size, position)


def ring_invariants(inside, name, level, produce, consume, size):
    """A ring's counters agree."""
    inside.invariant(f"{name}_counters", (level <= size) & (produce < size) & (consume < size))
    inside.invariant(f"{name}_level", produce == ring(ring(consume + level, size), size))


def fifo_properties(m, dut, inside):
    """The items leave as they came, in order, no more than ``depth`` are inside, and ``level``
    counts them; one is offered at once from LUT RAM, within 1 cycle more from block RAM."""
    deep = dut.depth > dut.shallow
    keep_contract(m, "i", dut.i, assume=True)
    keep_contract(m, "o", dut.o)
    items = Follower.of_streams(m, "queue", dut.i, dut.o, capacity=dut.depth)
    require(m, "level_counts", dut.level == items.held)
    within(m, "room", 0, items.held < dut.depth - deep, dut.i.ready)

    produce, consume = inside("queue.produce"), inside("queue.consume")
    place = Signal(range(2 * dut.depth))
    if deep:  # one item stands in the memory's output register
        level = inside("queue.inner_level")
        ring_invariants(inside, "queue", level, produce, consume, dut.depth - 1)
        m.d.comb += place.eq(ring(consume + items.ahead - dut.o.valid, dut.depth - 1))
        wait = within(m, "output", 1, items.held != 0, dut.o.valid)
        inside.invariant("output_waits_for_memory", (wait == 0) | (level == 0) | dut.o.valid)
        in_memory = ~dut.o.valid | (items.ahead != 0)
    else:
        ring_invariants(inside, "queue", items.held, produce, consume, dut.depth)
        m.d.comb += place.eq(ring(consume + items.ahead, dut.depth))
        within(m, "output", 0, items.held != 0, dut.o.valid)
        in_memory = 1
    word = inside.memory_word("queue.storage", place)
    inside.invariant("queue_place", ~(items.marked & in_memory) | (word == items.value))
    m.d.comb += Cover(items.marked & (items.ahead == dut.depth - 1))


def test_buffer(tmp_path):
    def faulty(old, new):
        return lambda: mutant(StreamBuffer, old, new)(WIDTH)

    prove(
        lambda: StreamBuffer(WIDTH),
        buffer_properties,
        tmp_path,
        depth=2,
        cover_depth=6,
        faults={
            "always_ready": (faulty("ready.eq(~spare_full)", "ready.eq(1)"), "buffer_"),
            "spare_forgotten": (faulty("Mux(spare_full, spare, ", "Mux(0, spare, "), "buffer_"),
            "valid_drops": (
                faulty("valid.eq(output_full)", "valid.eq(output_full & ~spare_full)"),
                "contract",
            ),
        },
    )


@pytest.mark.parametrize(("depth", "shallow"), [(3, 32), (4, 2)])
def test_fifo(tmp_path, depth, shallow):
    def build(kind=StreamFifo):
        queue = kind(WIDTH, depth)
        queue.shallow = shallow
        return queue

    def faulty(old, new):
        return lambda: build(mutant(StreamFifo, old, new))

    prove(
        build,
        fifo_properties,
        tmp_path,
        depth=2,
        cover_depth=8,
        faults={
            "always_ready": (faulty("ready.eq(queue.w_rdy)", "ready.eq(1)"), "level_counts"),
            "item_twice": (
                faulty("r_en.eq(self.o.ready)", "r_en.eq(self.o.ready & self.i.valid)"),
                "invents_nothing",
            ),
        },
    )
