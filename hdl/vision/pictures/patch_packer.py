"""Packs chunks of a picture's bytes into words."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hdl.parts.block_memory import BlockMemory
from hdl.vision.pictures.patch_walker import CHUNK

__all__ = ["WINDOW", "PatchPacker", "pack_layout"]

WORD = 8
WINDOW = 2 * WORD
"""Bytes that the packer sees at once: two words."""

pack_layout = data.StructLayout(
    {
        "offset": range(WINDOW),
        "kept": range(WORD + 1),
        "first": range(CHUNK + 1),
        "end": range(CHUNK + 1),
        "emit": 1,
        "last": 1,
    }
)
"""What to do with a chunk that begins at byte ``offset`` of the window: put it behind the first
``kept`` bytes of what is held.  Of its bytes those from ``first`` up to ``end`` are taken, the
others are the filling.  With ``emit`` the first eight bytes leave, with ``last`` as the last word.
"""


class PatchPacker(wiring.Component):
    """A byte gearbox: chunks in, full words out, no back-pressure.

    It holds less than a word, or a whole one: then the next item has ``kept`` 8 and emits it.

    Latency: ``latency`` cycles from ``valid`` to the word.  Throughput: 1 item a cycle.
    Stages: memory | its output register, mask | turn by words | turn by bytes | merge.

    Members
    -------
    valid : In(1)
    item : In(pack_layout)
    window : In(128)
        Byte i of the picture's part stands at i mod 16; a memory's latency after the item.
    filling : In(8)
        Value of the bytes that are not taken.
    o_valid, o_data, o_last : Out
        Words.
    busy : Out(1)
        An item is under way.
    """

    latency = BlockMemory.latency + 2

    def __init__(self):
        super().__init__(
            {
                "valid": In(1),
                "item": In(pack_layout),
                "window": In(8 * WINDOW),
                "filling": In(8),
                "o_valid": Out(1),
                "o_data": Out(8 * WORD),
                "o_last": Out(1),
                "busy": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()

        # What every stage hands on.
        control = data.StructLayout({"kept": range(WORD + 1), "emit": 1, "last": 1})
        items, valids = [], []
        item = Signal(control)
        valid = self.valid
        m.d.comb += [item[name].eq(self.item[name]) for name in control.members]
        for number in range(1, self.latency + 1):
            items.append(Signal(control, name=f"s{number}_item", reset_less=True))
            valids.append(Signal(name=f"s{number}_valid"))
            m.d.sync += [items[-1].eq(item), valids[-1].eq(valid)]
            item, valid = items[-1], valids[-1]
        m.d.comb += self.busy.eq(Cat(valids).any())

        # Stages 1 and 2, beside the memory: by how much to turn, which places take what comes.
        s1_turn = Signal(range(WINDOW), reset_less=True)
        s1_first = Signal(range(WINDOW + CHUNK), reset_less=True)
        s1_end = Signal(range(WINDOW + CHUNK), reset_less=True)
        s2_turn = Signal(range(WINDOW), reset_less=True)
        s2_taken = Signal(WINDOW, reset_less=True)
        m.d.sync += [
            s1_turn.eq(self.item.offset - self.item.kept),
            s1_first.eq(self.item.kept + self.item.first),
            s1_end.eq(self.item.kept + self.item.end),
            s2_turn.eq(s1_turn),
            s2_taken.eq(_below(s1_end) & ~_below(s1_first)),
        ]

        # Stages 3 and 4: the chunk's first byte comes to place ``kept``.
        s3_window = Signal(8 * WINDOW, reset_less=True)
        s3_turn = Signal(2, reset_less=True)
        s3_taken = Signal(WINDOW, reset_less=True)
        s4_window = Signal(8 * WINDOW, reset_less=True)
        s4_taken = Signal(WINDOW, reset_less=True)
        s4_held = Signal(WORD, reset_less=True)
        s4_emits = Signal()
        m.d.sync += [
            s3_window.eq(_turn(self.window, s2_turn[2:], 4)),
            s3_turn.eq(s2_turn[:2]),
            s3_taken.eq(s2_taken),
            s4_window.eq(_turn(s3_window, s3_turn, 1)),
            s4_taken.eq(s3_taken),
            s4_held.eq(_below(items[2].kept)),
            s4_emits.eq(valids[2] & items[2].emit),
        ]

        # Merge: the bytes held, then the chunk's.
        held = Signal(8 * WORD, reset_less=True)
        merged = Signal(8 * WINDOW)
        for place in range(WINDOW):
            bits = slice(8 * place, 8 * (place + 1))
            come = Mux(s4_taken[place], s4_window[bits], self.filling)
            if place < WORD:
                come = Mux(s4_held[place], held[bits], come)
            m.d.comb += merged[bits].eq(come)
        with m.If(valid):
            m.d.sync += held.eq(Mux(s4_emits, merged[8 * WORD :], merged[: 8 * WORD]))
        m.d.comb += [
            self.o_valid.eq(s4_emits),
            self.o_data.eq(merged[: 8 * WORD]),
            self.o_last.eq(item.last),
        ]

        return m


def _below(count):
    """Return WINDOW bits of which the lowest ``count`` are ones."""
    return ~(Const(-1, WINDOW) << count)[:WINDOW]


def _turn(window, count, size):
    """Return ``window`` turned down by ``count`` (2 bits) times ``size`` bytes."""
    bits = 8 * size
    turned = [Cat(window[i * bits :], window[: i * bits]) for i in range(4)]
    return Mux(count[1], Mux(count[0], turned[3], turned[2]), Mux(count[0], turned[1], turned[0]))
