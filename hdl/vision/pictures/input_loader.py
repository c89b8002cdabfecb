"""Reads a picture and lays it out in the activation memory."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from eyas.interfaces.vision.config import VisionConfig
from eyas.interfaces.vision.records import ErrorCode
from hdl.parts.memory_ports import ReadPort, bus_error
from hdl.vision.interfaces import activation_write_layout
from hdl.vision.job_layouts import input_map_layout, patch_layout
from hdl.vision.pictures.patches import Patches
from hdl.vision.pictures.picture_words import PictureWords

__all__ = ["InputLoader", "picture_layout"]


def picture_layout(config: VisionConfig) -> data.StructLayout:
    """Payload of :attr:`InputLoader.start`."""
    return data.StructLayout(
        {"source": 32, "words": 24, "map": input_map_layout(config), "patches": patch_layout}
    )


class InputLoader(wiring.Component):
    """Loads one picture, as it is or as patches (``patches.kernel_rows`` not 0).

    Codes: BUS_SLAVE, BUS_DECODE, WRONG_SIZE (the picture that the program's header describes has
    not ``words`` 64-bit words, or its patches cannot be cut).  One ``done`` for each ``start``,
    when the last word has left.

    Throughput: 1 word or 8 bytes a cycle, whichever takes longer; patches as
    :class:`hdl.vision.pictures.patches.Patches` makes them.

    Members
    -------
    start : In(stream of picture_layout)
        What to load, and where to.
    discard : In(1)
        Drop what comes, as long as this is high: beats are read to their end, words not given.
    done : Out(stream of 8)
        ErrorCode.
    bus : Out(ReadPort)
        Memory.
    o : Out(stream of activation_write_layout)
        Words for the activation memory.
    """

    def __init__(self, config: VisionConfig):
        self.config = config
        super().__init__(
            {
                "start": In(stream.Signature(picture_layout(config))),
                "discard": In(1),
                "done": Out(stream.Signature(8)),
                "bus": Out(ReadPort()),
                "o": Out(stream.Signature(activation_write_layout(config))),
            }
        )

    def elaborate(self, platform):
        m = Module()
        bus = self.bus
        m.submodules.words = words = PictureWords(self.config)
        m.submodules.patches = patches = Patches()

        picture = Signal(picture_layout(self.config), reset_less=True)
        in_patches = Signal()
        code = Signal(8)
        wiring.connect(m, words.o, wiring.flipped(self.o))
        m.d.comb += [
            words.discard.eq(self.discard),
            words.start.payload.eq(picture.map),
            patches.discard.eq(self.discard),
            patches.start.p.patches.eq(picture.patches),
            patches.start.p.height.eq(picture.map.height),
            patches.start.p.width.eq(picture.map.width),
            patches.i.payload.eq(bus.beats.payload),
            words.i.payload.eq(Mux(in_patches, patches.o.payload, bus.beats.payload)),
            self.done.payload.eq(code),
        ]

        with m.If(in_patches):
            m.d.comb += [
                patches.i.valid.eq(bus.beats.valid),
                bus.beats.ready.eq(patches.i.ready),
                words.i.valid.eq(patches.o.valid),
                patches.o.ready.eq(words.i.ready),
            ]
        with m.Else():
            m.d.comb += [
                words.i.valid.eq(bus.beats.valid),
                bus.beats.ready.eq(words.i.ready),
            ]

        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += self.start.ready.eq(1)
                m.d.sync += [
                    picture.eq(self.start.p),
                    in_patches.eq(self.start.p.patches.kernel_rows != 0),
                ]
                with m.If(self.start.valid):
                    m.next = "REQUEST"
            with m.State("REQUEST"):
                # Both parts are idle, and take their start with the request.
                m.d.comb += [
                    bus.request.valid.eq(1),
                    bus.request.p.address.eq(picture.source),
                    bus.request.p.beats.eq(picture.words),
                    words.start.valid.eq(bus.request.ready),
                    patches.start.valid.eq(bus.request.ready & in_patches),
                ]
                with m.If(bus.request.ready):
                    m.next = "BEATS"
            with m.State("BEATS"):
                m.d.comb += bus.response.ready.eq(1)
                m.d.sync += code.eq(bus_error(bus.response.p.code))
                with m.If(bus.response.valid):
                    m.next = "WORDS"
            with m.State("WORDS"):
                # A word that is discarded may stay, but each part must be able to start again.
                ended = words.idle | (self.discard & words.start.ready)
                with m.If(ended & patches.idle):
                    m.next = "DONE"
                    wrong_size = words.wrong_size | (in_patches & patches.wrong_size)
                    with m.If((code == ErrorCode.NONE) & wrong_size):
                        m.d.sync += code.eq(ErrorCode.WRONG_SIZE)
            with m.State("DONE"):
                m.d.comb += self.done.valid.eq(1)
                with m.If(self.done.ready):
                    m.next = "IDLE"

        return m
