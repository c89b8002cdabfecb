"""The AXI3 buses between programmable logic and the Zynq-7000's processing system."""

from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["Axi3"]


class Axi3(wiring.Signature):
    """AXI3 as the PS7 primitive has it, seen from the master: plain signals, standard names.

    Unlike AXI4, bursts have at most 16 beats, write data carries an ID, and SIZE has 2 bits:
    nothing is wider than 8 bytes.

    Parameters
    ----------
    data_width : int
        32 or 64 bits.
    id_width : int
        Bits of each ID, at least 1.

    Members
    -------
    awid, awaddr: 32, awlen: 4, awsize: 2, awburst: 2, awlock: 2, awcache: 4, awprot: 3, awqos: 4,
    awvalid, awready
        Write address: beats less one, log2 of a beat's bytes, FIXED (0), INCR (1) or WRAP (2).
    wid, wdata, wstrb, wlast, wvalid, wready
        Write data.
    bid, bresp: 2, bvalid, bready
        Write response, a :class:`hdl.parts.axi.Response`.
    arid, …, arready
        Read address, as the write address.
    rid, rdata, rresp: 2, rlast, rvalid, rready
        Read data.
    """

    def __init__(self, data_width, id_width):
        if data_width not in (32, 64):
            raise ValueError(f"Data width must be 32 or 64, not {data_width!r}")
        if not isinstance(id_width, int) or id_width < 1:
            raise ValueError(f"ID width must be a positive integer, not {id_width!r}")
        self.data_width = data_width
        self.id_width = id_width
        request = {
            "id": id_width, "addr": 32, "len": 4, "size": 2, "burst": 2,
            "lock": 2, "cache": 4, "prot": 3, "qos": 4,
        }  # fmt: skip
        write = {"id": id_width, "data": data_width, "strb": data_width // 8, "last": 1}
        read = {"id": id_width, "data": data_width, "resp": 2, "last": 1}
        members = {}
        for channel, flow, payload in (
            ("aw", Out, request),
            ("w", Out, write),
            ("b", In, {"id": id_width, "resp": 2}),
            ("ar", Out, request),
            ("r", In, read),
        ):
            members |= {f"{channel}{name}": flow(width) for name, width in payload.items()}
            members |= {f"{channel}valid": flow(1), f"{channel}ready": flow.flip()(1)}
        super().__init__(members)
