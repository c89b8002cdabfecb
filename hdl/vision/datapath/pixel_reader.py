"""Reads the pixels that a pass multiplies: addresses, banks, rotation, padding."""

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from eyas.interfaces.vision.config import VisionConfig
from eyas.interfaces.vision.isa import INSTRUCTION
from hdl.parts.layout import record_layout
from hdl.vision.interfaces import ActivationReadPort
from hdl.vision.linear import address_bits, bank_bits, split
from hdl.vision.loops.passes import pass_layout
from hdl.vision.loops.walker import POSITION_BITS, PixelWalker
from hdl.vision.memories import ActivationMemory

__all__ = ["PixelReader"]


class PixelReader(wiring.Component):
    """Reads one word for each pixel lane a cycle, each from another bank.

    A lane's word is at the lane's position (:class:`~hdl.vision.loops.walker.PixelWalker`) plus the
    pass's distance.  The compiler sees to it that the positions of the lanes that count fall into
    different banks; where two meet, the lower lane reads.  A tap outside the map gives
    ``in_zero_point`` in every channel.

    Latency: ``latency`` cycles from ``issue`` to ``words``.  Throughput: one pass a cycle, no
    back-pressure.  Stages: address | bank | memory | its output register | rotate and pad.

    Members
    -------
    instruction : In
        The layer, constant from ``restart`` on.
    restart, step : In(1)
        As for the walker.
    issue : In(pass_layout)
        The pass.
    idle : In(1)
        No program runs: the memory's read side serves ``store``.
    store : In(ActivationReadPort)
        The output's way to DRAM.
    memory_address, memory_data
        The activation memory's read side.
    words : Out(ArrayLayout(word, pixels))
        The lanes' words, ``latency`` cycles after the pass.
    """

    latency = 3 + ActivationMemory.latency

    def __init__(self, config: VisionConfig):
        self.config = config
        words = data.ArrayLayout(config.word_bits, config.pixels)
        super().__init__(
            {
                "instruction": In(record_layout(INSTRUCTION)),
                "restart": In(1),
                "step": In(1),
                "issue": In(pass_layout(config)),
                "idle": In(1),
                "store": In(ActivationReadPort(config)),
                "memory_address": Out(data.ArrayLayout(address_bits(config), config.pixels)),
                "memory_data": In(words),
                "words": Out(words),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self.config
        layer = self.instruction
        issue = self.issue

        m.submodules.walker = walker = PixelWalker(config)
        m.d.comb += [
            walker.restart.eq(self.restart),
            walker.step.eq(self.step),
            walker.walk.start_q.eq(layer.start_q),
            walker.walk.start_r.eq(layer.start_r),
            walker.walk.lane_q.eq(layer.lane_q),
            walker.walk.lane_r.eq(layer.lane_r),
            walker.walk.step_q.eq(layer.step_q),
            walker.walk.step_r.eq(layer.step_r),
            walker.walk.wrap_q.eq(layer.wrap_q),
            walker.walk.wrap_r.eq(layer.wrap_r),
            walker.walk.group_pixels.eq(layer.group_pixels),
            walker.walk.wrap_x.eq(layer.out_wrap_x),
            walker.walk.row_width.eq(layer.row_width),
            walker.walk.row_mode.eq(layer.row_mode),
        ]

        s1_address = []
        s1_bank = []
        s2_bank = []
        s2_inside = []
        for number, lane in enumerate(walker.lanes):
            # Row and column of the lane's first tap in the input map.
            first_y = Signal(signed(POSITION_BITS), name=f"first_y{number}", reset_less=True)
            first_x = Signal(signed(POSITION_BITS), name=f"first_x{number}", reset_less=True)
            with m.If(self.restart):
                m.d.sync += [
                    first_y.eq(layer.start_y + number * layer.lane_y),
                    first_x.eq(layer.start_x + number * layer.lane_x),
                ]
            with m.Elif(self.step):
                m.d.sync += [
                    first_y.eq(first_y + Mux(lane.wraps, layer.stride_y, 0)),
                    first_x.eq(first_x + Mux(lane.wraps, layer.wrap_x, layer.step_x)),
                ]

            # Stage 1: where this pass's word is; which tap it is.
            carry, rest = split(m, config, f"lane{number}", lane.r + issue.r, 2 * config.pixels)
            address = Signal(address_bits(config), name=f"s1_address{number}", reset_less=True)
            bank = Signal(bank_bits(config), name=f"s1_bank{number}", reset_less=True)
            y = Signal(POSITION_BITS, name=f"s1_y{number}", reset_less=True)
            x = Signal(POSITION_BITS, name=f"s1_x{number}", reset_less=True)
            m.d.sync += [
                address.eq(lane.q + issue.q + carry),
                bank.eq(rest),
                y.eq(first_y + issue.tap_y),
                x.eq(first_x + issue.tap_x),
            ]
            s1_address.append(address)
            s1_bank.append(bank)

            # Stage 2: is it inside? A negative position is a large unsigned one.
            inside_y = Signal(name=f"s2_inside_y{number}", reset_less=True)
            inside_x = Signal(name=f"s2_inside_x{number}", reset_less=True)
            s2_bank.append(Signal.like(bank, name=f"s2_bank{number}", reset_less=True))
            m.d.sync += [
                inside_y.eq(y < layer.in_height),
                inside_x.eq(x < layer.in_width),
                s2_bank[number].eq(bank),
            ]
            s2_inside.append(inside_y & inside_x)

        # Stage 2: each bank takes the address of the lowest lane that reads it. (The last lane
        # stands for "none of the others".)
        for bank in range(config.pixels):
            chosen = s1_address[-1]
            for number in reversed(range(config.pixels - 1)):
                chosen = Mux(s1_bank[number] == bank, s1_address[number], chosen)
            s2_address = Signal(address_bits(config), name=f"s2_address{bank}", reset_less=True)
            m.d.sync += s2_address.eq(Mux(self.idle, self.store.address, chosen))
            m.d.comb += self.memory_address[bank].eq(s2_address)

        # Stages 3 and 4 are the memory's; the rotation's selection waits for it. Selection
        # `pixels` stands for padding: with three banks and the zero point a LUT a bit.
        padding = config.pixels
        selection_layout = range(padding + 1)
        zero_word = Signal(config.word_bits)
        m.d.comb += zero_word.eq(layer.in_zero_point.as_unsigned().replicate(config.input_channels))
        for number in range(config.pixels):
            selection = Mux(s2_inside[number], s2_bank[number], padding)
            for stage in range(3, 3 + ActivationMemory.latency):
                register = Signal(
                    selection_layout, name=f"s{stage}_selection{number}", reset_less=True
                )
                m.d.sync += register.eq(selection)
                selection = register
            word = Signal(config.word_bits, name=f"s5_word{number}", reset_less=True)
            with m.Switch(selection):
                for bank in range(config.pixels):
                    with m.Case(bank):
                        m.d.sync += word.eq(self.memory_data[bank])
                with m.Default():
                    m.d.sync += word.eq(zero_word)
            m.d.comb += self.words[number].eq(word)

        # The output's way to DRAM: its bank's word, with the latency the port promises.
        store_bank = self.store.bank
        for stage in range(ActivationReadPort.latency):
            register = Signal(bank_bits(config), name=f"store_bank{stage}", reset_less=True)
            m.d.sync += register.eq(store_bank)
            store_bank = register
        with m.Switch(store_bank):
            for bank in range(config.pixels):
                with m.Case(bank):
                    m.d.comb += self.store.data.eq(self.memory_data[bank])
            with m.Default():
                pass
        return m
