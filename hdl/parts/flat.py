# amaranth: UnusedElaboratable=no
# flat_ports() looks at a design that nobody elaborates.
"""The edge of a design: AXI buses as flat ports with their standard names, and its Verilog."""

from amaranth.back import verilog
from amaranth.hdl import ClockDomain, Const, Module, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import Flow, In, Out

from hdl.parts.axi import Axi4, AxiLite

__all__ = ["FlatTop", "flat_ports", "flat_verilog"]

# Signals that the interfaces inside the design leave out: name, width, and the value they have
# when the design drives them.  What the other side drives of them is ignored.
_CONSTANTS = {
    AxiLite: {"awprot": (3, 0), "arprot": (3, 0)},
    Axi4: {
        f"{channel}{name}": (width, value)
        for channel in ("aw", "ar")
        for name, width, value in (
            ("id", 1, 0),
            ("size", 3, 3),  # 8 bytes
            ("burst", 2, 0b01),  # INCR
            ("lock", 1, 0),
            ("cache", 4, 0b0011),  # bufferable, modifiable
            ("prot", 3, 0),
            ("qos", 4, 0),
        )
    },
}
_IGNORED = {AxiLite: {}, Axi4: {"bid": 1, "rid": 1}}


def _bus(member):
    """Return (AXI signature seen from the master, whether the member's owner is the master)."""
    if not member.is_signature:
        return None, False
    master = member.flow == Out
    signature = member.signature if master else member.signature.flip()
    if not isinstance(signature, AxiLite | Axi4):
        return None, False
    return signature, master


def _flat_members(signature):
    """Return the flat ports of a bus, without prefix, seen from the master."""
    members = {}
    for channel, member in signature.members.items():
        items = member.signature if member.flow == Out else member.signature.flip()
        for field_name, field in items.members["payload"].shape:
            members[channel + field_name] = member.flow(field.shape)
        members[f"{channel}valid"] = member.flow(1)
        members[f"{channel}ready"] = member.flow.flip()(1)
    for name, (width, _) in _CONSTANTS[type(signature)].items():
        members[name] = Out(width)
    for name, width in _IGNORED[type(signature)].items():
        members[name] = In(width)
    return members


class FlatTop(wiring.Component):
    """What a board or a simulator instantiates: ``core`` with flat ports.

    Each AXI member of the core becomes ports with its name as prefix and the standard's names:
    ``s_axi : In(AxiLite(12))`` becomes ``s_axi_awaddr``, ``s_axi_awvalid``, …;
    ``m_axi : Out(Axi4())`` becomes ``m_axi_araddr``, … with its constants (ID 0, INCR, 8-byte
    beats, cache 0b0011, prot, lock and qos 0).  Every other member keeps its name, streams as
    ``name__payload``, ``name__valid``, ``name__ready``.

    Parameters
    ----------
    core : wiring.Component
        The design, in the ``sync`` domain.

    Members
    -------
    aclk : In(1)
        Clock of ``sync``.
    aresetn : In(1)
        Reset of ``sync``, synchronous, active low.
    """

    def __init__(self, core):
        if not isinstance(core, wiring.Component):
            raise TypeError(f"Core of a FlatTop must be a wiring.Component, not {core!r}")
        self.core = core
        members = {"aclk": In(1), "aresetn": In(1)}
        for name, member in core.signature.members.items():
            signature, master = _bus(member)
            if signature is None:
                members[name] = member
                continue
            for port, flat in _flat_members(signature).items():
                members[f"{name}_{port}"] = flat if master else flat.flip()
        super().__init__(members)

    def elaborate(self, platform):
        m = Module()

        m.domains.sync = sync = ClockDomain()
        m.d.comb += [sync.clk.eq(self.aclk), sync.rst.eq(~self.aresetn)]

        m.submodules.core = self.core
        for name, member in self.core.signature.members.items():
            signature, master = _bus(member)
            inner = getattr(self.core, name)
            if signature is not None:
                self._connect_bus(m, name, signature, inner, master)
            elif member.is_port:
                outer = getattr(self, name)
                m.d.comb += inner.eq(outer) if member.flow == In else outer.eq(inner)
            else:
                wiring.connect(m, inner, wiring.flipped(getattr(self, name)))

        return m

    def _connect_bus(self, m, name, signature, bus, master):
        def port(suffix):
            return getattr(self, f"{name}_{suffix}")

        for channel, member in signature.members.items():
            inner = getattr(bus, channel)
            leaves = (member.flow == Out) == master
            pairs = [(field, getattr(inner.payload, field)) for field, _ in inner.payload.shape()]
            pairs.append(("valid", inner.valid))
            for suffix, signal in pairs:
                outer = port(channel + suffix)
                m.d.comb += outer.eq(signal) if leaves else signal.eq(outer)
            ready = port(f"{channel}ready")
            m.d.comb += inner.ready.eq(ready) if leaves else ready.eq(inner.ready)
        if master:
            for suffix, (width, value) in _CONSTANTS[type(signature)].items():
                m.d.comb += port(suffix).eq(Const(value, width))

    @property
    def ports(self):
        """The flat ports: name to (``"input"`` or ``"output"``, bits)."""
        directions = {Flow.In: "input", Flow.Out: "output"}
        return {
            "__".join(map(str, path)): (directions[member.flow], len(Value.cast(value)))
            for path, member, value in self.signature.flatten(self)
        }


def flat_ports(core):
    """Return the ports of ``FlatTop(core)`` as JSON holds them: name, direction, width."""
    return [
        {"name": name, "direction": direction, "width": width}
        for name, (direction, width) in FlatTop(core).ports.items()
    ]


def flat_verilog(core, name):
    """Return the Verilog of ``FlatTop(core)`` as module ``name``.

    The text depends on the design alone: it holds no paths and no line numbers.
    """
    return verilog.convert(FlatTop(core), name=name, emit_src=False, strip_internal_attrs=True)
