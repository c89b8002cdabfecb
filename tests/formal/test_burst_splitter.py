"""BurstSplitter: proof by k-induction, at the widths that the overlays use."""

import pytest
from amaranth.hdl import Assume, Const, Cover, Signal

from hdl.parts.axi import BYTES_PER_BEAT, MAXIMUM_BURST
from hdl.parts.burst_splitter import BurstSplitter
from tests.formal.harness import keep_contract, mutant, prove, require

pytestmark = pytest.mark.formal

_PAGE = 4096


def allowed_burst(addr, length):
    """Whether a burst keeps AXI's rules and ours: whole beats, 16 at most, in one page."""
    first = addr[3:12]
    last_in_page = first + length < _PAGE // BYTES_PER_BEAT
    return (addr[:3] == 0) & (length < MAXIMUM_BURST) & last_in_page


def splitter_properties(m, splitter, inside, path=""):
    """The bursts are allowed, cover each request's beats in order, and the last one says so.

    Returns (beats still to be put in bursts, whether they all were in the request taken last).
    """
    request, o = splitter.request, splitter.o
    asked = request.valid & request.ready
    issued = o.valid & o.ready
    keep_contract(m, "request", request, assume=True)
    m.d.comb += Assume(~request.valid | (request.payload.beats != 0))
    keep_contract(m, "bursts", o)

    left = Signal(splitter.length_width)
    following = Signal(splitter.address_width)
    length = o.payload.len + 1
    with m.If(asked):
        m.d.sync += [
            left.eq(request.payload.beats),
            following.eq(request.payload.address >> 3 << 3),
        ]
    with m.Elif(issued):
        m.d.sync += [left.eq(left - length), following.eq(following + length * BYTES_PER_BEAT)]

    require(m, "burst_is_allowed", ~o.valid | allowed_burst(o.payload.addr, o.payload.len))
    require(m, "burst_follows", ~o.valid | (o.payload.addr == following))
    require(m, "burst_is_within_its_request", ~o.valid | (length <= left))
    require(m, "final_burst_says_so", ~o.valid | (o.payload.final == (length == left)))
    require(m, "burst_comes_at_once", (left != 0) == o.valid)
    require(m, "request_waits_for_no_more", (left == 0) == request.ready)

    busy, more = inside(f"{path}busy"), inside(f"{path}more")
    first, block = inside(f"{path}first"), inside(f"{path}block")
    inside.invariant("splitter_busy", busy == (left != 0))
    inside.invariant("splitter_more", ~busy | (more + 1 == left))
    inside.invariant("splitter_first", ~busy | (first == following[3:7]))
    inside.invariant("splitter_block", ~busy | (block == following[7:]))
    inside.invariant("splitter_low", following[:3] == 0)
    return left


def properties(m, dut, inside):
    """See :func:`splitter_properties`."""
    left = splitter_properties(m, dut, inside)
    m.d.comb += [
        Cover(dut.o.valid & (dut.o.payload.len == 15) & ~dut.o.payload.final),
        Cover((left == 3) & dut.o.valid & dut.o.payload.final & (dut.o.payload.addr == _PAGE)),
    ]


def test_splitter(tmp_path):
    def faulty(old, new, **names):
        return lambda: mutant(BurstSplitter, old, new, **names)(32, 24)

    prove(
        lambda: BurstSplitter(32, 24),
        properties,
        tmp_path,
        depth=2,
        cover_depth=6,
        faults={
            "crosses_4_kib": (
                faulty("room = ~first ", "room = Const(15, 4) ", Const=Const),
                "burst_is_allowed",
            ),
            "beat_twice": (faulty("more.eq(more - room - 1)", "more.eq(more - room)"), "burst_"),
        },
    )
