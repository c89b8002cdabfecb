"""The loops of any layer: depthwise layers have loops of their own."""

from amaranth.hdl import Const, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from eyas.interfaces.vision.config import VisionConfig
from eyas.interfaces.vision.isa import INSTRUCTION, Op
from hdl.parts.layout import record_layout
from hdl.vision.loops.depthwise_passes import DepthwisePasses
from hdl.vision.loops.passes import PassGenerator, pass_layout

__all__ = ["LayerPasses"]


class LayerPasses(wiring.Component):
    """Runs a layer with the :class:`PassGenerator` or, by its operation, :class:`DepthwisePasses`.

    The first pass comes in the cycle after ``start`` (behind the weights of a depthwise tile).  An
    array without a depthwise unit has only the former.

    Members
    -------
    instruction : In
        The layer, constant from ``start`` until its last result.
    weight_base : In
        First weight row of the running program.
    start : In(1)
        Begins the layer.
    depthwise : Out(1)
        It is a depthwise one.
    issue : Out(pass_layout)
        The pass or column of this cycle.
    strobe : Out(pixels), load : Out
        For the :class:`DepthwiseUnit`; zero in other layers.
    waiting : Out(1)
        The array waits for requantisation.
    restart, step : Out(1)
        For the walker of the input side.
    done : Out(1)
        In the layer's last cycle.
    """

    def __init__(self, config: VisionConfig):
        self.config = config
        super().__init__(
            {
                "instruction": In(record_layout(INSTRUCTION)),
                "weight_base": In(ceil_log2(config.weight_rows)),
                "start": In(1),
                "depthwise": Out(1),
                "issue": Out(pass_layout(config)),
                "strobe": Out(config.pixels),
                "load": Out(config.depthwise_weight_rows),
                "waiting": Out(1),
                "restart": Out(1),
                "step": Out(1),
                "done": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.passes = passes = PassGenerator(self.config)
        generators = [passes]
        selected = Const(0, 1)
        issue = passes.issue
        if self.config.has_depthwise:
            m.submodules.columns = columns = DepthwisePasses(self.config)
            generators.append(columns)
            selected = self.instruction.op == Op.DEPTHWISE
            issue = Mux(self.depthwise, columns.issue.as_value(), passes.issue.as_value())
            m.d.comb += [self.strobe.eq(columns.strobe), self.load.eq(columns.load)]
        for generator, starts in zip(generators, (~self.depthwise, self.depthwise), strict=False):
            m.d.comb += [
                generator.instruction.eq(self.instruction),
                generator.weight_base.eq(self.weight_base),
                generator.start.eq(self.start & starts),
            ]
        for name in ("restart", "step", "done"):
            any_of_them = Signal(len(generators), name=f"any_{name}")
            m.d.comb += [
                any_of_them[number].eq(getattr(generator, name))
                for number, generator in enumerate(generators)
            ]
            m.d.comb += getattr(self, name).eq(any_of_them.any())
        m.d.comb += [
            self.depthwise.eq(selected),
            self.issue.eq(issue),
            self.waiting.eq(passes.waiting),
        ]
        return m
