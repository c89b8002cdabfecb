"""Reads a picture and lays it out in the activation memory."""

from amaranth.hdl import Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from eyas.interfaces.configs import VisionConfig
from eyas.interfaces.vision_program import ErrorCode
from hdl.vision.interfaces import activation_write_layout
from hdl.vision.jobs import ReadPort, bus_error, input_map_layout
from hdl.vision.picture_words import PictureWords

__all__ = ["InputLoader", "picture_layout"]


def picture_layout(config: VisionConfig) -> data.StructLayout:
    """Payload of :attr:`InputLoader.start`."""
    return data.StructLayout({"source": 32, "words": 24, "map": input_map_layout(config)})


class InputLoader(wiring.Component):
    """Loads one picture.

    Codes: BUS_SLAVE, BUS_DECODE, WRONG_SIZE (the picture that the program's header describes has
    not ``words`` 64-bit words).  One ``done`` for each ``start``, when the last word has left.

    Throughput: 1 word or 8 bytes a cycle, whichever takes longer.

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

        picture = Signal(picture_layout(self.config), reset_less=True)
        code = Signal(8)
        wiring.connect(m, words.o, wiring.flipped(self.o))
        m.d.comb += [
            words.discard.eq(self.discard),
            words.start.payload.eq(picture.map),
            words.i.payload.eq(bus.beats.payload),
            words.i.valid.eq(bus.beats.valid),
            bus.beats.ready.eq(words.i.ready),
            self.done.payload.eq(code),
        ]

        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += self.start.ready.eq(1)
                m.d.sync += picture.eq(self.start.p)
                with m.If(self.start.valid):
                    m.next = "REQUEST"
            with m.State("REQUEST"):
                # The words part is idle, and takes its start with the request.
                m.d.comb += [
                    bus.request.valid.eq(1),
                    bus.request.p.address.eq(picture.source),
                    bus.request.p.beats.eq(picture.words),
                    words.start.valid.eq(bus.request.ready),
                ]
                with m.If(bus.request.ready):
                    m.next = "BEATS"
            with m.State("BEATS"):
                m.d.comb += bus.response.ready.eq(1)
                m.d.sync += code.eq(bus_error(bus.response.p.code))
                with m.If(bus.response.valid):
                    m.next = "WORDS"
            with m.State("WORDS"), m.If(words.idle | self.discard):
                m.next = "DONE"
                with m.If((code == ErrorCode.NONE) & words.wrong_size):
                    m.d.sync += code.eq(ErrorCode.WRONG_SIZE)
            with m.State("DONE"):
                m.d.comb += self.done.valid.eq(1)
                with m.If(self.done.ready):
                    m.next = "IDLE"

        return m
