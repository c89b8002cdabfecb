"""The datapath's units in several shapes, side by side in one design: one build for all benches."""

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from eyas.interfaces.vision.config import DEFAULT_VISION, SMALL_VISION, VisionConfig
from hdl.parts.arithmetic import DelayLine
from hdl.vision.datapath.add import AddUnit
from hdl.vision.datapath.depthwise import DepthwiseUnit
from hdl.vision.datapath.depthwise_product import BoothProduct
from hdl.vision.datapath.mac_array import MacArray, PackedProducts, pack_weights
from hdl.vision.datapath.pooling import PoolingUnit
from hdl.vision.datapath.requantize import Requantizer

__all__ = ["ADD", "DEPTHWISE", "POOLING", "REQUANTIZER", "SHAPES", "Products", "VisionDatapath"]

SHAPES = {
    "least": VisionConfig(output_channels=2, input_channels=2, pixels=1, requantize_channels=1),
    "small": SMALL_VISION,
    "flat": VisionConfig(output_channels=6, input_channels=2, pixels=5, requantize_channels=1),
    "deep": VisionConfig(output_channels=16, input_channels=16, pixels=1, requantize_channels=8),
    "default": DEFAULT_VISION,
}
"""Configurations of the array: 2×2×1, 4×4×3, 6×2×5, 16×16×1 and 16×8×3."""

DEPTHWISE = ("small", "flat", "default")
"""Configurations whose depthwise weights take three rows, two and one."""

ADD = POOLING = REQUANTIZER = ("small", "default")
"""Configurations in which there is one."""

PIXELS = (-128, -127, -65, -1, 0, 1, 64, 127)
"""Pixels with which every pair of weights is tried."""


class Products(wiring.Component):
    """Packed products with each of ``PIXELS``: every pair of weights takes 65,536 cycles.

    Members
    -------
    second : In(1)
        Whether what is tried goes to the second tap, else to the first.
    low, high : In(signed 8)
        Weights of that tap.
    other_low, other_high, other_pixel : In(signed 8)
        Operands of the other tap.
    valid : In(1)
        The operands above count.
    wrong : Out(1)
        A sum was wrong, sticky.
    checked : Out(32)
        Cycles in which the sums were looked at.
    greatest : Out(1)
        A low sum was 32768, the one that 16 bits do not hold: sticky.
    """

    second: In(1)
    low: In(signed(8))
    high: In(signed(8))
    other_low: In(signed(8))
    other_high: In(signed(8))
    other_pixel: In(signed(8))
    valid: In(1)
    wrong: Out(1)
    checked: Out(32)
    greatest: Out(1)

    def elaborate(self, platform):
        m = Module()
        latency = 1 + PackedProducts.latency
        valid = Signal(latency)
        m.d.sync += [valid.eq(valid << 1 | self.valid), self.checked.eq(self.checked + valid[-1])]
        for pixel in PIXELS:
            m.submodules[f"products_{PIXELS.index(pixel)}"] = products = PackedProducts()
            sums = []
            for weight, other_weight in ((self.low, self.other_low), (self.high, self.other_high)):
                expected = weight * pixel + other_weight * self.other_pixel
                for stage in range(latency):
                    delayed = Signal(signed(17), name=f"expected_{stage}")
                    m.d.sync += delayed.eq(expected)
                    expected = delayed
                sums.append(expected)
            packed = (
                pack_weights(self.low, self.high),
                pack_weights(self.other_low, self.other_high),
            )
            pixels = pixel, self.other_pixel
            for tap in range(2):
                weight = Mux(self.second, packed[1 - tap], packed[tap])
                operand = Mux(self.second, pixels[1 - tap], pixels[tap])
                m.d.comb += [
                    products.weights[tap].eq(DelayLine(m, weight, "weight")[1 + tap]),
                    products.pixels[tap].eq(DelayLine(m, operand, "pixel")[1 + tap]),
                ]
            low, high = sums
            with m.If(
                valid[-1]
                & ((products.low + 1 != low) | (products.high + (products.low < 0) != high))
            ):
                m.d.sync += self.wrong.eq(1)
            with m.If(valid[-1] & (low == 1 << 15)):
                m.d.sync += self.greatest.eq(1)
        return m


class BoothProducts(wiring.Component):
    """Every pair of operands, one a cycle while ``valid``.

    Members
    -------
    valid : In(1)
        The next pair goes in; 65,536 of them are all.
    wrong : Out(1)
        A product was wrong, sticky.
    checked : Out(32)
        Products looked at.
    """

    valid: In(1)
    wrong: Out(1)
    checked: Out(32)

    def elaborate(self, platform):
        m = Module()
        m.submodules.product = product = BoothProduct()
        number = Signal(16)
        # An odd factor permutes the numbers: all bits change often.
        pair = (number * 0x9E37)[:16]
        value, weight = pair[:8].as_signed(), pair[8:].as_signed()
        valid = Signal(product.latency)
        m.d.comb += [
            product.moves.eq(Cat(self.valid, valid)),
            product.value.eq(value),
            product.weight.eq(weight),
        ]
        m.d.sync += [valid.eq(Cat(self.valid, valid)), number.eq(number + self.valid)]
        expected = DelayLine(m, value * weight, "expected")[product.latency]
        m.d.sync += self.checked.eq(self.checked + valid[-1])
        with m.If(valid[-1] & (product.product != expected.as_signed())):
            m.d.sync += self.wrong.eq(1)
        return m


class VisionDatapath(wiring.Component):
    """The units in their shapes; ports are named ``UNIT_SHAPE__MEMBER``."""

    def __init__(self):
        self.units = {f"array_{name}": MacArray(config) for name, config in SHAPES.items()}
        self.units |= {f"pooling_{name}": PoolingUnit(SHAPES[name]) for name in POOLING}
        self.units |= {f"add_{name}": AddUnit(SHAPES[name]) for name in ADD}
        self.units |= {f"requantizer_{name}": Requantizer(SHAPES[name]) for name in REQUANTIZER}
        self.units |= {f"depthwise_{name}": DepthwiseUnit(SHAPES[name]) for name in DEPTHWISE}
        self.units["booth"] = BoothProducts()
        self.units["products"] = Products()
        super().__init__({name: Out(unit.signature) for name, unit in self.units.items()})

    def elaborate(self, platform):
        m = Module()
        for name, unit in self.units.items():
            m.submodules[name] = unit
            wiring.connect(m, unit, wiring.flipped(getattr(self, name)))
        return m
