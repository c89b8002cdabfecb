"""The parts of the vision compute engine, and how they are connected."""

from typing import NamedTuple

from amaranth.hdl import Cat, EnableInserter, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In

from eyas.interfaces.vision.config import VisionConfig
from eyas.interfaces.vision.isa import Op
from hdl.vision.datapath.add import AddUnit
from hdl.vision.datapath.add_tables import AddTables
from hdl.vision.datapath.depthwise import DepthwiseUnit
from hdl.vision.datapath.drain import Drain
from hdl.vision.datapath.lane_sum import LaneSum
from hdl.vision.datapath.mac_array import MacArray
from hdl.vision.datapath.pixel_reader import PixelReader
from hdl.vision.datapath.pooling import PoolingUnit
from hdl.vision.datapath.requantize import Requantizer
from hdl.vision.datapath.write_back import WriteBack
from hdl.vision.interfaces import EnginePort
from hdl.vision.loops.layer_passes import LayerPasses
from hdl.vision.loops.sequencer import Sequencer
from hdl.vision.memories import (
    ActivationMemory,
    BlockMemory,
    InstructionMemory,
    ParameterMemory,
    WeightMemory,
)

__all__ = ["EngineCore"]


class _Stages(NamedTuple):
    """What reaches the units together with a pass's pixels."""

    valid: Signal
    first: Signal
    last: Signal
    pools: Signal
    adds: Signal


class EngineCore(wiring.Component):
    """The engine's parts; an abort resets them all."""

    def __init__(self, config: VisionConfig):
        self.config = config
        self.instructions = InstructionMemory(config)
        self.weights = WeightMemory(config)
        self.parameters = ParameterMemory(config)
        self.activations = ActivationMemory(config)
        self.sequencer = Sequencer(config)
        self.passes = LayerPasses(config)
        self.reader = PixelReader(config)
        self.array = MacArray(config)
        self.pooling = PoolingUnit(config)
        self.add = AddUnit(config)
        self.add_tables = AddTables()
        self.drain = Drain(config)
        self.requantizer = Requantizer(config)
        self.write_back = WriteBack(config)
        super().__init__({"port": In(EnginePort(config))})

    def elaborate(self, platform):
        m = Module()
        for name in (
            "instructions", "weights", "parameters", "activations", "sequencer", "passes", "reader",
            "array", "add", "add_tables", "drain", "requantizer", "write_back",
        ):  # fmt: skip
            m.submodules[name] = getattr(self, name)

        self._connect_programs(m)
        self._connect_control(m)
        stages = self._connect_units(m)
        pooled, depthwise_sums, early = self._connect_sums(m, stages)
        self._requantize(m, early)
        self._choose_sums(m, stages, pooled, depthwise_sums)
        self._connect_results(m)
        self._count_layers(m)
        return m

    def _connect_programs(self, m):
        """Fill the program memories, and let the sequencer read its instructions."""
        port, instructions, sequencer = self.port, self.instructions, self.sequencer
        for write_port, target in (
            (port.instruction_write, instructions.write),
            (port.weight_write, self.weights.write),
            (port.parameter_write, self.parameters.write),
        ):
            wiring.connect(m, wiring.flipped(write_port), target)
        m.d.comb += [
            instructions.read_address.eq(sequencer.memory_address),
            sequencer.memory_data.eq(instructions.read_data),
        ]

    def _connect_control(self, m):
        """Start the loops of each layer, and say when it ends."""
        port, sequencer, passes = self.port, self.sequencer, self.passes
        layer = sequencer.instruction
        wiring.connect(m, wiring.flipped(port.start), sequencer.start)
        wiring.connect(m, wiring.flipped(port.finish), sequencer.finish)
        m.d.comb += [
            passes.instruction.eq(layer),
            passes.weight_base.eq(sequencer.weight_base),
            passes.start.eq(sequencer.layer_start),
            sequencer.passes_done.eq(passes.done),
            sequencer.layer_done.eq(self.write_back.done),
            sequencer.passing.eq(passes.issue.valid),
            sequencer.waiting.eq(passes.waiting),
            port.release_input.eq(sequencer.release_input),
            port.running.eq(sequencer.running),
            port.array_active.eq(passes.issue.valid),
        ]

    def _connect_units(self, m):
        """Bring pixels and weights to the array and to the units beside it.

        Returns what reaches them together with a pass's pixels: that there is a pass, that it is
        the first or the last one of its group; and that the layer is a pool or an addition.
        """
        port, sequencer, passes, reader = self.port, self.sequencer, self.passes, self.reader
        activations, weights, array = self.activations, self.weights, self.array
        pooling, add, add_tables = self.pooling, self.add, self.add_tables
        layer = sequencer.instruction
        wiring.connect(m, wiring.flipped(port.store), reader.store)
        m.d.comb += [
            reader.instruction.eq(layer),
            reader.restart.eq(passes.restart),
            reader.step.eq(passes.step),
            reader.issue.eq(passes.issue),
            reader.idle.eq(~sequencer.running),
            activations.read_address.eq(reader.memory_address),
            reader.memory_data.eq(activations.read_data),
        ]
        weight_row = self._delay(
            m, passes.issue.weight_row, PixelReader.latency - WeightMemory.latency, "weight_row"
        )
        valid = self._delay(m, passes.issue.valid, PixelReader.latency, "valid", reset_less=False)
        first = self._delay(m, passes.issue.first, PixelReader.latency, "first")
        last = self._delay(m, passes.issue.last, PixelReader.latency, "last")
        convolution = Signal()
        pools = Signal()
        adds = Signal()
        m.d.comb += [
            convolution.eq(layer.op == Op.CONV),
            adds.eq(layer.op == Op.ADD),
            pools.eq((layer.op == Op.MAX_POOL) | (layer.op == Op.SUM_POOL)),
            weights.read_row.eq(weight_row),
            array.pixels.eq(reader.words),
            array.weights.eq(weights.read_data),
            array.valid.eq(valid & convolution),
            array.first.eq(first),
            array.last.eq(last),
            pooling.pixels.eq(reader.words),
            pooling.valid.eq(valid & pools),
            pooling.first.eq(first),
            pooling.last.eq(last),
            pooling.maximum.eq(layer.op == Op.MAX_POOL),
            add.pixels.eq(reader.words),
            add.valid.eq(valid & adds),
            add.first.eq(first),
            add.last.eq(last),
        ]
        m.d.comb += [
            add_tables.instruction.eq(sequencer.next_instruction),
            add_tables.start.eq(sequencer.tables_start),
            sequencer.tables_full.eq(add_tables.full),
        ]
        for name in ("write_enable", "write_address", "write_a", "write_b"):
            m.d.comb += getattr(add, name).eq(getattr(add_tables, name))
        return _Stages(valid, first, last, pools, adds)

    def _connect_sums(self, m, stages):
        """Complete the sums of the units beside the array.

        Returns the sums of pools and of depthwise layers by pixel and channel, and a signal that
        rises a cycle before a group's sums, whichever unit's, are complete.
        """
        config, passes = self.config, self.passes
        array, add, pooling = self.array, self.add, self.pooling
        layer = self.sequencer.instruction
        early = self._delay(
            m, stages.valid & stages.last, array.latency - 1, "early", reset_less=False
        )
        pooled = [list(sums) for sums in pooling.sums]
        lane_sum = LaneSum(config)
        # What a layer does not use stands still: power on the chip, time in simulation.
        m.submodules.pooling = EnableInserter(stages.pools)(pooling)
        m.submodules.lane_sum = EnableInserter(stages.pools)(lane_sum)
        m.d.comb += lane_sum.sums.eq(pooling.sums)
        pooled[0] = [
            Mux(layer.merge_lanes, total, own)
            for total, own in zip(lane_sum.total, pooled[0], strict=True)
        ]
        depthwise_sums = add.sums  # never chosen without a depthwise unit
        merged = self._delay(m, early, lane_sum.latency, "merged", reset_less=False)
        if config.has_depthwise:
            depthwise = DepthwiseUnit(config)
            m.submodules.depthwise = EnableInserter(passes.depthwise)(depthwise)
            strobe = self._delay(m, passes.strobe, PixelReader.latency, "strobe")
            load = self._delay(m, passes.load, PixelReader.latency, "load", reset_less=False)
            m.d.comb += [
                depthwise.zero_point.eq(layer.in_zero_point),
                depthwise.valid.eq(stages.valid & passes.depthwise),
                depthwise.first.eq(stages.first),
                depthwise.strobe.eq(strobe),
                depthwise.weights.eq(self.weights.read_data),
                depthwise.load.eq(load),
            ]
            for row, word in enumerate(depthwise.column):
                m.d.comb += word.eq(self.reader.words[row])
            slower = depthwise.latency - array.latency
            late = self._delay(m, early, slower, "late", reset_less=False)
            early = Mux(passes.depthwise, late, early)
            depthwise_sums = depthwise.sums
        early = Mux(layer.merge_lanes, merged, early)
        return pooled, depthwise_sums, early

    def _requantize(self, m, early):
        """Hand completed sums and their parameters to the requantiser."""
        sequencer, parameters = self.sequencer, self.parameters
        drain, requantizer = self.drain, self.requantizer
        layer = sequencer.instruction
        m.d.comb += [
            drain.instruction.eq(layer),
            drain.parameter_base.eq(sequencer.parameter_base),
            drain.start.eq(sequencer.layer_start),
            drain.early.eq(early),
            parameters.read_row.eq(drain.parameter_row),
            requantizer.sums.eq(drain.selected),
            requantizer.parameters.eq(parameters.read_data),
            requantizer.valid.eq(drain.valid),
            requantizer.zero_point.eq(layer.out_zero_point),
            requantizer.clamp_min.eq(layer.clamp_min),
            requantizer.clamp_max.eq(layer.clamp_max),
        ]

    def _choose_sums(self, m, stages, pooled, depthwise_sums):
        """Choose the unit whose sums are drained."""
        config, array, add = self.config, self.array, self.add
        # All units but the array fill a tile's first plane. Two bits choose, decoded long before
        # a layer's first sums: a look-up table a bit.
        unit = Signal(2, reset_less=True)
        m.d.sync += unit.eq(Cat(stages.pools | stages.adds, self.passes.depthwise | stages.adds))
        for pixel in range(config.pixels):
            for channel in range(config.output_channels):
                total = array.sums[pixel][channel]
                if channel < config.input_channels:
                    total = Mux(
                        unit[1],
                        Mux(unit[0], add.sums[pixel][channel], depthwise_sums[pixel][channel]),
                        Mux(unit[0], pooled[pixel][channel], total),
                    )
                m.d.comb += self.drain.sums[pixel][channel].eq(total)

    def _connect_results(self, m):
        """Write results to the activation memory, beside the next picture."""
        port, write_back, sequencer = self.port, self.write_back, self.sequencer
        activations, requantizer = self.activations, self.requantizer
        layer = sequencer.instruction
        wiring.connect(m, wiring.flipped(port.load), write_back.load)
        m.d.comb += [
            write_back.instruction.eq(layer),
            write_back.start.eq(sequencer.layer_start),
            write_back.values.eq(requantizer.values),
            write_back.strobe.eq(requantizer.strobe),
            activations.write_enable.eq(write_back.write_enable),
            activations.write_address.eq(write_back.write_address),
            activations.write_data.eq(write_back.write_data),
        ]

    def _count_layers(self, m):
        """Keep the counters of each layer's last run."""
        port, sequencer = self.port, self.sequencer
        layout = Sequencer.counters_layout
        m.submodules.counters = counters = BlockMemory(layout.size, 256)
        read = Signal(layout)
        m.d.comb += [
            counters.write_enable.eq(sequencer.counters_enable),
            counters.write_address.eq(sequencer.counters_layer),
            counters.write_data.eq(sequencer.counters.as_value()),
            counters.read_address.eq(port.layer_select),
            read.as_value().eq(counters.read_data),
            port.layer_cycles.eq(read.cycles),
            port.layer_array_cycles.eq(read.array),
            port.layer_requantize_cycles.eq(read.requantize),
            port.layer_drain_cycles.eq(read.drain),
            port.layer_table_cycles.eq(read.tables),
        ]

    @staticmethod
    def _delay(m, value, cycles, name, *, reset_less=True):
        """``value`` of ``cycles`` cycles ago."""
        for stage in range(cycles):
            register = Signal.like(value, name=f"{name}_delay{stage}", reset_less=reset_less)
            m.d.sync += register.eq(value)
            value = register
        return value
