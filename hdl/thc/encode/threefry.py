"""Random bits by counter: Threefry-4x32, as :mod:`models.thc.generator` describes it."""

from amaranth.hdl import Module, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from eyas.interfaces.thc.formats import THREEFRY_PARITY, THREEFRY_ROTATIONS, THREEFRY_ROUNDS

__all__ = ["Threefry"]

WORDS = data.ArrayLayout(32, 4)


class Threefry(wiring.Component):
    """128 random bits for each counter.

    Latency: 16 cycles. Throughput: a call a cycle.

    Members
    -------
    seed : In(64)
        Words 0 and 1 of the key, the others are 0; set 2 cycles before the first call, and the
        same for all calls under way.
    counter : In(4 × 32)
        Counter of a call; every cycle is one.
    words : Out(4 × 32)
        What the call gives, word 0 first.
    """

    latency = 1 + THREEFRY_ROUNDS + THREEFRY_ROUNDS // 4

    seed: In(64)
    counter: In(WORDS)
    words: Out(WORDS)

    def elaborate(self, platform):
        m = Module()

        fifth = Signal(32, reset_less=True)
        m.d.sync += fifth.eq(self.seed[:32] ^ self.seed[32:] ^ THREEFRY_PARITY)
        schedule = [self.seed[:32], self.seed[32:], 0, 0, fifth]

        def stage(name, values):
            words = [Signal(32, name=f"{name}_{i}", reset_less=True) for i in range(4)]
            m.d.sync += [word.eq(value) for word, value in zip(words, values, strict=True)]
            return words

        # A mix ends in an exclusive or; it is left to the stage behind, where it goes into the
        # adder's look-up tables: ``masks[i]`` is still to be xored into word i.
        words = stage("start", [self.counter[i] + schedule[i] for i in range(4)])
        masks = [0, 0, 0, 0]
        for number in range(THREEFRY_ROUNDS):
            values = list(words)
            pairs = ((0, 3), (2, 1)) if number % 2 else ((0, 1), (2, 3))
            rotations = THREEFRY_ROTATIONS[number % len(THREEFRY_ROTATIONS)]
            for (a, b), rotation in zip(pairs, rotations, strict=True):
                other = words[b] ^ masks[b]
                values[a] = words[a] + other
                values[b] = other.rotate_left(rotation)
            words = stage(f"round{number}", values)
            masks = [0, 0, 0, 0]
            for a, b in pairs:
                masks[b] = words[a]
            if number % 4 == 3:
                step = number // 4 + 1
                keys = [schedule[(step + i) % 5] for i in range(4)]
                last = Signal(32, name=f"last_key{step}", reset_less=True)
                m.d.sync += last.eq(keys[3] + step)
                keys[3] = last
                words = stage(f"key{step}", [keys[i] + (words[i] ^ masks[i]) for i in range(4)])
                masks = [0, 0, 0, 0]

        m.d.comb += [self.words[i].eq(words[i]) for i in range(4)]
        return m
