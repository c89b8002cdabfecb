"""Depthwise convolutions: three vertically adjacent words a cycle, a pixel of each channel."""

from amaranth.hdl import Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from eyas.interfaces.vision.config import DEPTHWISE_KERNEL, VisionConfig
from hdl.parts.arithmetic import valid_after
from hdl.vision.datapath.depthwise_product import BoothProduct

__all__ = ["DepthwiseUnit"]

_TAPS = DEPTHWISE_KERNEL**2
_TREE_LEVELS = (_TAPS - 1).bit_length()


class DepthwiseUnit(wiring.Component):
    """Sums of 3 × 3 products of each channel by itself.

    Input columns come one after the other from the left: three words, one below the other.  With
    its two predecessors a column is the window of one output pixel.  Weights stay from one load to
    the next.  The sums of a group of pixels stand side by side until the next group's replace them.

    Latency: ``latency`` cycles from a column to its place in ``sums``.  Throughput: a column a
    cycle, no back-pressure.  Stages: window | four of multiplication | four of the adder tree |
    sums.  No DSP is used.  What has no column to work on stands still.

    Parameters
    ----------
    config : VisionConfig
        ``input_channels``, ``output_channels`` and ``pixels``, of which there are at least three.

    Attributes
    ----------
    latency : int
        As above.

    Members
    -------
    zero_point : In(signed 8)
        What the two columns before a row's first one hold; constant while a layer runs.
    column : In(ArrayLayout(word, 3))
    valid : In(1)
        A column is present; while low ``first`` and ``strobe`` mean nothing.
    first : In(1)
        It is a row's first.
    strobe : In(pixels)
        It completes this pixel of the group; at most one.
    weights : In(ArrayLayout(word, output_channels))
        A row of weight memory.
    load : In(weight_rows)
        The row is this one of the tile: it serves the column that comes with it and those behind.
        Tap t = 3 · ky + kx is word t mod output_channels of row t div output_channels.
    sums : Out(ArrayLayout[pixels][input_channels] of signed 32)
    """

    latency = 1 + BoothProduct.latency + _TREE_LEVELS + 1

    def __init__(self, config: VisionConfig):
        if not isinstance(config, VisionConfig):
            raise TypeError(f"config must be a VisionConfig, not {config!r}")
        if not config.has_depthwise:
            raise ValueError(
                f"A depthwise unit reads {DEPTHWISE_KERNEL} pixels at once, "
                f"an array of {config.pixels} has no such ports"
            )
        self.config = config
        weight_rows = config.depthwise_weight_rows
        row = data.ArrayLayout(signed(8), config.input_channels)
        super().__init__(
            {
                "zero_point": In(signed(8)),
                "column": In(data.ArrayLayout(row, DEPTHWISE_KERNEL)),
                "valid": In(1),
                "first": In(1),
                "strobe": In(config.pixels),
                "weights": In(data.ArrayLayout(row, config.output_channels)),
                "load": In(weight_rows),
                "sums": Out(
                    data.ArrayLayout(
                        data.ArrayLayout(signed(32), config.input_channels), config.pixels
                    )
                ),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self.config
        stages = self.latency - 1
        moves = Signal(stages)
        m.d.sync += moves.eq(Cat(self.valid, moves))
        strobe = [valid_after(m, self.valid & pixel, stages) for pixel in self.strobe]

        for channel in range(config.input_channels):
            window = self._window(m, channel)
            products = []
            for tap in range(_TAPS):
                weight = Signal(signed(8), name=f"weight_{channel}_{tap}", reset_less=True)
                row, word = divmod(tap, config.output_channels)
                with m.If(self.load[row]):
                    m.d.sync += weight.eq(self.weights[word][channel])
                product = BoothProduct()
                m.submodules[f"product_{channel}_{tap}"] = product
                m.d.comb += [
                    product.moves.eq(moves),
                    product.value.eq(window[tap]),
                    product.weight.eq(weight),
                ]
                products.append(product.product)
            total = self._tree(m, products, moves[BoothProduct.latency :])
            for pixel in range(config.pixels):
                held = Signal.like(total, name=f"sum_{pixel}_{channel}", reset_less=True)
                with m.If(strobe[pixel]):
                    m.d.sync += held.eq(total)
                m.d.comb += self.sums[pixel][channel].eq(held)
        return m

    def _window(self, m: Module, channel: int) -> list[Value]:
        """Registers with the nine values around the pixel that the last column completes."""
        window = []
        for row in range(DEPTHWISE_KERNEL):
            value = self.column[row][channel]
            columns = []
            for age in range(DEPTHWISE_KERNEL):
                held = Signal(signed(8), name=f"window_{channel}_{row}_{age}", reset_less=True)
                with m.If(self.valid):
                    m.d.sync += held.eq(Mux(self.first, self.zero_point, value) if age else value)
                columns.append(held)
                value = held
            window += reversed(columns)
        return window

    @staticmethod
    def _tree(m: Module, addends: list[Value], moves: Value) -> Value:
        """Add up in pairs, a register a level; one that is left over waits."""
        for level in range(_TREE_LEVELS):
            sums = []
            for pair in range(0, len(addends), 2):
                total = sum(addends[pair + 1 : pair + 2], start=addends[pair])
                # 9 · 2^14 fits 19 bits.
                shape = signed(min(len(total), 19))
                partial = Signal(shape, name=f"partial{level}", reset_less=True)
                with m.If(moves[level]):
                    m.d.sync += partial.eq(total)
                sums.append(partial)
            addends = sums
        return addends[0]
