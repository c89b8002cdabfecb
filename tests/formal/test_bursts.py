"""BurstReader and BurstWriter: proofs by k-induction, with 2 bursts under way.

Requests have up to 63 beats in an address space of 64 KiB, so that page boundaries, several
bursts a request and several requests under way all occur.
"""

import pytest
from amaranth.hdl import Array, Assume, Cat, Const, Cover, Signal, Value

from hdl.parts.burst_reader import BurstReader
from hdl.parts.burst_splitter import BurstSplitter
from hdl.parts.burst_writer import BurstWriter
from tests.formal.bursts import Requests
from tests.formal.harness import Follower, fires, keep_contract, mutant, prove, require, within
from tests.formal.test_stream import buffer_invariants

pytestmark = pytest.mark.formal

ADDRESS, LENGTH, OUTSTANDING = 16, 6, 2


def reader_properties(m, dut, inside):
    """Each request's beats come once, in order, unchanged, ``last`` on its last one alone.

    Memory is assumed to give each burst that it took its beats, RLAST on the last one.
    """
    keep_contract(m, "r", dut.bus_r, assume=True)
    for name, stream in (("ar", dut.bus_ar), ("o", dut.o), ("response", dut.response)):
        keep_contract(m, name, stream)

    # Beats of the oldest burst that have left.
    index = Signal(5)
    left_now = fires(dut.o)
    output = inside("beats.output")  # data, resp, last as they stand behind the buffer
    lengths_0 = Signal(4)
    ends = left_now & (index == lengths_0)
    requests = Requests(
        m,
        dut,
        inside,
        capacity=OUTSTANDING,
        address=dut.bus_ar,
        ends=ends,
        answers=left_now,
        resp=output[64:66],
    )
    m.d.comb += lengths_0.eq(requests.lengths[0])
    with m.If(left_now):
        m.d.sync += index.eq(index + 1)
        with m.If(ends):
            m.d.sync += index.eq(0)

    # Memory: bursts it has given entirely and that have not left, beats given of the next one.
    given, given_index = Signal(range(OUTSTANDING + 2)), Signal(5)
    came = fires(dut.bus_r)
    came_last = came & dut.bus_r.payload.last
    given_length = Array([*requests.lengths, Const(0, 4)])[given]
    sent = requests.count - requests.unsent
    m.d.comb += [
        Assume(~dut.bus_r.valid | (given < sent)),
        Assume(~dut.bus_r.valid | (dut.bus_r.payload.last == (given_index == given_length))),
    ]
    m.d.sync += given.eq(given + came_last - ends)
    with m.If(came):
        m.d.sync += given_index.eq(given_index + 1)
        with m.If(came_last):
            m.d.sync += given_index.eq(0)

    items = Follower(
        m,
        "beats",
        enter=came,
        entering=Value.cast(dut.bus_r.payload),
        valid=dut.o.valid,
        leave=left_now,
        leaving=output,
        capacity=2,
    )
    require(m, "data_is_what_came", ~dut.o.valid | (dut.o.payload.data == output[:64]))
    last = requests.finals[0] & (index == lengths_0)
    require(m, "last_is_last", ~dut.o.valid | (dut.o.payload.last == last))
    require(m, "beat_belongs_to_a_burst", ~dut.o.valid | (requests.count != 0))
    within(m, "beat", 0, (items.held != 0) & ~dut.response.valid, dut.o.valid)
    within(m, "room", 0, items.held < 2, dut.bus_r.ready)

    beats = beats_owed(m, dut, left_now)
    require(
        m, "no_beat_is_owed_or_given_too_much", beats == requests.left + requests.beats() - index
    )

    buffer_invariants(inside, "buffer", items, "beats.")
    requests.queue_invariants(inside, "queue", requests.count, 0, requests.finals)
    spare = inside("beats.spare")
    ahead = sum(((j < given) * (length + 1)) for j, length in enumerate(requests.lengths))
    inside.invariant("index", (index == 0) | (requests.count != 0) & (index <= lengths_0))
    inside.invariant("given", (given <= sent) & (given <= 2))
    inside.invariant(
        "given_index", (given_index == 0) | (given < sent) & (given_index <= given_length)
    )
    inside.invariant("in_buffer", index + items.held == ahead + given_index)
    inside.invariant("output_last", (items.held == 0) | (output[66] == (index == lengths_0)))
    spare_last = (index == lengths_0) & (requests.lengths[1] == 0) | (index + 1 == lengths_0)
    inside.invariant("spare_last", (items.held < 2) | (spare[66] == spare_last))
    m.d.comb += [
        Cover(fires(dut.response) & (dut.response.payload.code == 3) & (requests.left != 0)),
        Cover((requests.count == OUTSTANDING) & (requests.owed == 3) & (items.held == 2)),
    ]


def beats_owed(m, dut, moved):
    """Count beats: those of the requests taken, less those that moved."""
    owed = Signal(8)
    asked = Signal(8)
    with m.If(fires(dut.request)):
        m.d.comb += asked.eq(dut.request.payload.beats)
    m.d.sync += owed.eq(owed + asked - moved)
    return owed


def writer_properties(m, dut, inside):
    """Each request's beats go out once, in order, unchanged, all bytes enabled, WLAST on the last
    beat of each burst alone, none before its burst's address is offered.

    Memory is assumed to answer each burst once, after its address and all its data.
    """
    keep_contract(m, "i", dut.i, assume=True)
    keep_contract(m, "b", dut.bus_b, assume=True)
    for name, stream in (("aw", dut.bus_aw), ("w", dut.bus_w), ("response", dut.response)):
        keep_contract(m, name, stream)

    answered = fires(dut.bus_b)
    requests = Requests(
        m,
        dut,
        inside,
        capacity=OUTSTANDING,
        address=dut.bus_aw,
        ends=answered,
        answers=answered,
        resp=dut.bus_b.payload.resp,
    )
    lengths = Array([*requests.lengths, Const(0, 4)])

    # Bursts whose data has been taken entirely, and has been sent entirely; beats of the next.
    taken, sent = Signal(range(OUTSTANDING + 2)), Signal(range(OUTSTANDING + 2))
    index = Signal(5)
    came, went = fires(dut.i), fires(dut.bus_w)
    last = index == lengths[taken]
    m.d.sync += [
        taken.eq(taken + (came & last) - answered),
        sent.eq(sent + (went & dut.bus_w.payload.last) - answered),
    ]
    with m.If(came):
        m.d.sync += index.eq(index + 1)
        with m.If(last):
            m.d.sync += index.eq(0)
    m.d.comb += Assume(~dut.bus_b.valid | (sent != 0) & (requests.count > requests.unsent))

    items = Follower(
        m,
        "beats",
        enter=came,
        entering=Cat(dut.i.payload.data, Const(0xFF, 8), last),
        valid=dut.bus_w.valid,
        leave=went,
        leaving=Value.cast(dut.bus_w.payload),
        capacity=2,
    )
    address_offered = requests.count - requests.unsent + dut.bus_aw.valid
    require(m, "data_follows_its_address", ~dut.bus_w.valid | (sent < address_offered))
    require(m, "beat_is_taken_for_a_burst", ~dut.i.ready | (taken < requests.count))
    wanted = (taken < requests.count) & (items.held < 2)
    within(m, "room", 0, wanted, dut.i.ready)
    within(m, "beat", 0, items.held != 0, dut.bus_w.valid)
    within(m, "answer", 0, ~dut.response.valid, dut.bus_b.ready)
    beats = beats_owed(m, dut, came)
    require(
        m,
        "no_beat_is_owed_or_taken_too_much",
        beats == requests.left + requests.beats(taken) - index,
    )

    buffer_invariants(inside, "buffer", items, "beats.")
    requests.queue_invariants(inside, "answer_queue", requests.count, 0, requests.finals)
    waiting = requests.count - taken
    requests.queue_invariants(inside, "data_queue", waiting, taken, requests.lengths)
    output, spare = inside("beats.output"), inside("beats.spare")
    in_buffer = (items.held > 0) & output[72], (items.held > 1) & spare[72]
    inside.invariant("taken", (taken <= requests.count) & (sent + sum(in_buffer) == taken))
    inside.invariant("index", (index == 0) | (taken < requests.count) & (index <= lengths[taken]))
    inside.invariant("index_is_its_own", inside("index") == index)
    # What stands in the buffer behind its last WLAST belongs to the burst being taken.
    open_beats = (items.held > 0) & ~output[72], (items.held > 1) & ~spare[72]
    inside.invariant(
        "open_beats",
        ~((items.held == 1) & open_beats[0] | open_beats[1]) | (index != 0),
    )
    m.d.comb += [
        Cover(fires(dut.response) & (dut.response.payload.code == 3) & (requests.left != 0)),
        Cover((requests.count == OUTSTANDING) & (requests.owed == 3) & (items.held == 2)),
    ]


CROSSING = mutant(BurstSplitter, "room = ~first ", "room = Const(15, 4) ", Const=Const)


def builder(kind, old="", new="", **names):
    """A function that builds ``kind``, with a fault where one is given."""
    return lambda: mutant(kind, old, new, **names)(ADDRESS, LENGTH, OUTSTANDING)


SECOND_RESPONSE = (
    "with m.If(self.response.ready):",
    "with m.If(self.response.ready & splitter.request.ready):",
)


def seventeen(channel):
    """A burst of 16 beats announced with 17."""
    length = f"{channel}.len.eq(splitter.o.payload.len)"
    return length, f"{length[:-1]} + (splitter.o.payload.len == 15))"


def test_reader(tmp_path):
    prove(
        builder(BurstReader),
        reader_properties,
        tmp_path,
        depth=1,
        cover_depth=12,
        faults={
            "burst_of_17": (builder(BurstReader, *seventeen("ar")), "address_is_allowed"),
            "crosses_4_kib": (builder(BurstReader, BurstSplitter=CROSSING), "burst_is_allowed"),
            "second_response": (builder(BurstReader, *SECOND_RESPONSE), "answered_once", 6),
            "dropped_beat": (
                builder(
                    BurstReader,
                    "beats.o.ready.eq(self.o.ready & queue.o.valid",
                    "beats.o.ready.eq(queue.o.valid",
                ),
                "o_keeps_the_contract",
                5,
            ),
        },
    )


def test_writer(tmp_path):
    prove(
        builder(BurstWriter),
        writer_properties,
        tmp_path,
        depth=1,
        cover_depth=12,
        faults={
            "burst_of_17": (builder(BurstWriter, *seventeen("aw")), "address_is_allowed"),
            "crosses_4_kib": (builder(BurstWriter, BurstSplitter=CROSSING), "burst_is_allowed"),
            "second_response": (builder(BurstWriter, *SECOND_RESPONSE), "answered_once", 6),
            "dropped_beat": (
                builder(
                    BurstWriter,
                    "self.i.ready.eq(beats.i.ready & data_queue.o.valid)",
                    "self.i.ready.eq(data_queue.o.valid)",
                ),
                "beats_",
                5,
            ),
        },
    )
