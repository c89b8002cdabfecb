"""AxiLiteSlave and RegisterFile: proofs by k-induction."""

import pytest
from amaranth.hdl import Cat, Cover, Mux, Signal, Value

from eyas.interfaces.fields import Access, Field, Register, RegisterBlock
from hdl.parts.axi import Response
from hdl.parts.axi_lite import AxiLiteSlave
from hdl.parts.register_file import RegisterFile
from tests.formal.harness import fires, keep_contract, mutant, prove, require, within

pytestmark = pytest.mark.formal


def last_taken(m, name, stream):
    """The payload that passed last."""
    payload = Signal.like(stream.payload, name=f"{name}_last_taken")
    with m.If(fires(stream)):
        m.d.sync += payload.eq(stream.payload)
    return payload


def pending(m, name, entering, leaving):
    """Count what entered and has not left, which is at most two items and never less than none."""
    count = Signal(3, name=f"{name}_pending")
    m.d.sync += count.eq(count + entering - leaving)
    require(m, f"{name}_pending_at_most_2", count <= 2)
    return count


def answered_once(m, bus, inside, slave=""):
    """Each AW and W is answered by one B, each AR by one R: none comes unasked, each comes within
    2 cycles once the response before it is gone, and waits until it is taken."""
    for name in ("aw", "w", "ar"):
        keep_contract(m, name, getattr(bus, name), assume=True)
    keep_contract(m, "b", bus.b)
    keep_contract(m, "r", bus.r)
    for requests, response in ((("aw", "w"), "b"), (("ar",), "r")):
        channel = getattr(bus, response)
        answered = fires(channel)
        asked = 1
        full = inside(f"{slave}{response}_full")
        for name in requests:
            count = pending(m, name, fires(getattr(bus, name)), answered)
            require(m, f"no_{response}_without_{name}", ~channel.valid | (count != 0))
            inside.invariant(f"{name}_count", count == inside(f"{slave}{name}_full") + full)
            asked &= count != 0
            # Progress of the request: a request is taken once fewer than two wait.
            within(m, f"{name}_room", 1, count == 0, getattr(bus, name).ready)
        waited = within(m, response, 1, asked, channel.valid)
        inside.invariant(f"{response}_waited", (waited == 0) | full | asked)


def slave_properties(m, dut, inside):
    """The contract, one strobe a write with what was asked, and the answer that belongs to the
    address: OKAY or DECERR by ``*_mapped``, data as they stood when the read was done."""
    bus = dut.bus
    answered_once(m, bus, inside)
    aw, w, ar = (last_taken(m, n, getattr(bus, n)) for n in ("aw", "w", "ar"))

    strobe = dut.write_strobe
    done = pending(m, "strobe", strobe, fires(bus.b))
    require(m, "one_strobe_a_response", done == bus.b.valid)
    require(
        m,
        "strobe_is_as_asked",
        ~strobe
        | (dut.write_address == aw.addr[2:])
        & (dut.write_data == w.data)
        & (dut.write_mask == w.strb),
    )
    for name in ("aw", "w", "ar"):
        taken = {"aw": aw, "w": w, "ar": ar}[name]
        inside.invariant(
            f"{name}_kept", ~inside(f"{name}_full") | (inside(name) == Value.cast(taken))
        )

    b_mapped = Signal()
    with m.If(strobe):
        m.d.sync += b_mapped.eq(dut.write_mapped)
    require(
        m,
        "b_is_decerr_iff_unmapped",
        ~bus.b.valid | (bus.b.payload.resp == Mux(b_mapped, Response.OKAY, Response.DECERR)),
    )

    # R becomes valid one cycle after the snapshot was taken.
    r_before, r_data, r_mapped, r_address = Signal(), Signal(32), Signal(), Signal(32)
    m.d.sync += [
        r_before.eq(bus.r.valid),
        r_data.eq(dut.read_data),
        r_mapped.eq(dut.read_mapped),
        r_address.eq(dut.read_address == ar.addr[2:]),
    ]
    require(
        m,
        "r_is_as_read",
        ~(bus.r.valid & ~r_before)
        | r_address
        & (bus.r.payload.data == Mux(r_mapped, r_data, 0))
        & (bus.r.payload.resp == Mux(r_mapped, Response.OKAY, Response.DECERR)),
    )
    m.d.comb += [
        Cover(bus.b.valid & ~bus.b.ready & bus.aw.valid & bus.aw.ready),
        Cover(fires(bus.b) & (bus.b.payload.resp == Response.DECERR)),
        Cover(fires(bus.r) & (bus.r.payload.resp == Response.OKAY)),
    ]


def test_slave(tmp_path):
    def faulty(old, new):
        return lambda: mutant(AxiLiteSlave, old, new)(5)

    prove(
        lambda: AxiLiteSlave(5),
        slave_properties,
        tmp_path,
        depth=3,
        cover_depth=8,
        faults={
            "second_response": (
                faulty("aw_full.eq(0),\n                w_full.eq(0)", "w_full.eq(0)"),
                "no_b_without_aw",
            ),
            "response_overwritten": (
                faulty("aw_full & w_full & ~b_full", "aw_full & w_full"),
                "one_strobe",
            ),
            "unmapped_is_okay": (
                faulty(
                    "b.resp.eq(Mux(self.write_mapped, Response.OKAY, Response.DECERR))",
                    "b.resp.eq(Response.OKAY)",
                ),
                "b_is_decerr",
            ),
        },
    )


BLOCK = RegisterBlock(
    "proof",
    32,
    "One register of each kind; the upper half is unmapped.",
    (
        Register("status", 0, Access.R, "Read only.", (Field("level", 12, "Any."),)),
        Register(
            "control", 4, Access.RW, "Kept.", (Field("mode", 5, "Any."), Field("limit", 6, "Any."))
        ),
        Register("flags", 8, Access.RW1C, "Cleared by ones.", (Field("events", 9, "Any."),)),
        Register("doorbell", 12, Access.W, "A strobe.", (Field("job", 11, "Any."),)),
    ),
)
USED = {"status": 0xFFF, "control": 0x7FF, "flags": 0x1FF, "doorbell": 0x7FF}


def register_properties(m, dut, inside):
    """Each kind of register does what a write asks and nothing else; reads give its value; an
    address without a register is answered DECERR."""
    bus = dut.bus
    answered_once(m, bus, inside, "slave.")
    aw, w, ar = (last_taken(m, n, getattr(bus, n)) for n in ("aw", "w", "ar"))
    for name, taken in (("aw", aw), ("w", w), ("ar", ar)):
        kept = inside(f"slave.{name}") == Value.cast(taken)
        inside.invariant(f"{name}_kept", ~inside(f"slave.{name}_full") | kept)

    # The moment of a write, and what the bus asked for.
    done = Signal()
    m.d.comb += done.eq(inside("slave.write_strobe"))
    count = pending(m, "write", done, fires(bus.b))
    require(m, "one_write_a_response", count == bus.b.valid)
    mask = Cat(bit.replicate(8) for bit in w.strb)
    masked = w.data & mask
    writes = {
        register.name: done & (aw.addr[2:] == register.offset // 4) for register in BLOCK.registers
    }

    control, flags = Signal(32), Signal(32)
    with m.If(writes["control"]):
        m.d.sync += control.eq((control & ~mask | masked) & USED["control"])
    cleared = Mux(writes["flags"], masked, 0)
    m.d.sync += flags.eq((flags & ~cleared | Value.cast(dut.flags_set)) & USED["flags"])
    require(m, "control_is_as_written", Value.cast(dut.control) == control)
    require(m, "flags_are_as_set_and_cleared", Value.cast(dut.flags) == flags)
    inside.invariant("unused_bits", ((control & ~0x7FF) == 0) & ((flags & ~0x1FF) == 0))
    rung = writes["doorbell"] & w.strb.any()
    require(m, "doorbell_strobes_once_a_write", dut.doorbell_strobe == rung)
    rung_as_asked = Value.cast(dut.doorbell) == (masked & USED["doorbell"])
    require(m, "doorbell_is_as_written", ~rung | rung_as_asked)

    b_mapped = Signal()
    with m.If(done):
        m.d.sync += b_mapped.eq(aw.addr < 16)
    b_right = bus.b.payload.resp == Mux(b_mapped, Response.OKAY, Response.DECERR)
    require(m, "b_is_decerr_iff_unmapped", ~bus.b.valid | b_right)

    # R becomes valid one cycle after the snapshot was taken.
    value, r_before = Signal(32), Signal()
    m.d.sync += r_before.eq(bus.r.valid)
    with m.Switch(ar.addr[2:]):
        with m.Case(0):
            m.d.sync += value.eq(Value.cast(dut.status) & USED["status"])
        with m.Case(1):
            m.d.sync += value.eq(control)
        with m.Case(2):
            m.d.sync += value.eq(flags)
        with m.Default():
            m.d.sync += value.eq(0)
    r_offered = bus.r.valid & ~r_before
    asked = Signal(5)
    m.d.sync += asked.eq(ar.addr)
    r_right = bus.r.payload.resp == Mux(asked < 16, Response.OKAY, Response.DECERR)
    require(m, "r_is_decerr_iff_unmapped", ~r_offered | r_right)
    require(m, "r_is_the_value", ~r_offered | (bus.r.payload.data == value))
    m.d.comb += [
        Cover(fires(bus.r) & (bus.r.payload.data == 0x123)),
        Cover(writes["flags"] & (flags != 0) & (masked != 0)),
        Cover(rung),
    ]


def test_register_file(tmp_path):
    def faulty(old, new):
        return lambda: mutant(RegisterFile, old, new)(BLOCK)

    prove(
        lambda: RegisterFile(BLOCK),
        register_properties,
        tmp_path,
        depth=3,
        cover_depth=7,
        faults={
            "strobes_ignored": (faulty("value & ~mask | masked", "slave.write_data"), "control"),
            "clear_beats_set": (
                faulty("(value & ~cleared | set_bits)", "((value | set_bits) & ~cleared)"),
                "flags",
            ),
        },
    )
