"""What the proofs of BurstReader and BurstWriter share: bursts and requests under way."""

from amaranth.hdl import Array, Mux, Signal

from tests.formal.harness import fires, require
from tests.formal.test_burst_splitter import allowed_burst, splitter_properties
from tests.formal.test_stream import ring, ring_invariants

__all__ = ["Requests"]


class Requests:
    """Follows requests and their bursts from ``dut.request`` to ``dut.response``.

    Asserted: the bursts cover each request; each goes to the ``address`` channel once, in order
    and unchanged, with 16 beats at most and within 4 KiB; each request is answered exactly once,
    when its last burst has ended, with the worst of its ``resp``; ``idle`` tells when none is
    under way.

    ``lengths`` and ``finals`` describe the ``count`` bursts issued and not ended, oldest first;
    the newest ``unsent`` of them are not yet taken by the address channel; ``left`` beats of the
    request taken last are in no burst yet.
    """

    def __init__(self, m, dut, inside, *, capacity, address, ends, answers, resp):
        left = splitter_properties(m, dut.splitter, inside, "splitter.")
        issued = fires(dut.splitter.o)
        burst = dut.splitter.o.payload
        self.left = left
        self.count = count = Signal(range(capacity + 2), name="bursts_under_way")
        self.lengths = Array(Signal(4, name=f"length_{j}") for j in range(capacity))
        self.finals = Array(Signal(name=f"final_{j}") for j in range(capacity))
        m.d.sync += count.eq(count + issued - ends)
        for values, new in ((self.lengths, burst.len), (self.finals, burst.final)):
            for j, value in enumerate(values):
                kept = Mux(ends, values[j + 1], value) if j + 1 < capacity else value
                m.d.sync += value.eq(Mux(issued & (j == count - ends), new, kept))
        require(m, "bursts_under_way_fit", count <= capacity)

        # The address channel.
        self.unsent = unsent = Signal(2)
        newest_addr, newest_len = Signal.like(burst.addr), Signal(4)
        m.d.sync += unsent.eq(unsent + issued - fires(address))
        with m.If(issued):
            m.d.sync += [newest_addr.eq(burst.addr), newest_len.eq(burst.len)]
        payload = address.payload
        require(m, "address_is_sent_once", unsent == address.valid)
        require(
            m,
            "address_is_the_burst",
            ~address.valid | (payload.addr == newest_addr) & (payload.len == newest_len),
        )
        require(m, "address_is_allowed", ~address.valid | allowed_burst(payload.addr, payload.len))
        room = (count < capacity) & ~(address.valid & ~address.ready)
        require(m, "address_comes_at_once", ~((left != 0) & room) | issued)
        newest = self.lengths[count - 1]
        inside.invariant("newest_length", (unsent == 0) | (newest == newest_len))
        inside.invariant("unsent_is_under_way", unsent <= count)

        # Requests and their answers: ``answers`` marks each item whose ``resp`` counts.
        owed, worst, code = Signal(4), Signal(2), Signal(2)
        error = Mux(resp < 2, 0, resp)
        worse = Mux(error > worst, error, worst)
        m.d.sync += owed.eq(owed + fires(dut.request) - fires(dut.response))
        with m.If(answers):
            m.d.sync += worst.eq(worse)
        with m.If(ends & self.finals[0]):
            m.d.sync += [worst.eq(0), code.eq(worse)]
        unfinished = (left != 0) + sum((j < count) & f for j, f in enumerate(self.finals))
        require(m, "each_request_is_answered_once", owed == unfinished + dut.response.valid)
        require(
            m, "response_is_the_worst", ~dut.response.valid | (dut.response.payload.code == code)
        )
        require(m, "idle_tells_the_truth", dut.idle == (owed == 0))
        self.owed = owed
        inside.invariant("worst_so_far", inside("worst") == worst)
        ended = (count == 0) | (left != 0) | self.finals[count - 1]
        inside.invariant("newest_is_final_unless_beats_are_left", ended)

    def beats(self, first=0):
        """Beats of the bursts from number ``first`` on."""
        return sum(
            Mux((j >= first) & (j < self.count), length + 1, 0)
            for j, length in enumerate(self.lengths)
        )

    def queue_invariants(self, inside, path, level, first, values):
        """The StreamFifo at ``path`` holds ``values`` from number ``first`` on."""
        size = len(values)
        produce, consume = inside(f"{path}.queue.produce"), inside(f"{path}.queue.consume")
        inside.invariant(f"{path}_level", inside(f"{path}.queue.level") == level)
        ring_invariants(inside, path, level, produce, consume, size)
        for j in range(size):
            word = inside.memory_word(f"{path}.queue.storage", ring(consume + j, size))
            inside.invariant(f"{path}_{j}", (j >= level) | (word == values[first + j]))
