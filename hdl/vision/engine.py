"""The vision compute engine: memories, array, requantisation and the sequencer that runs them."""

from amaranth.hdl import Cat, EnableInserter, Module, Mux, ResetInserter, Signal
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

__all__ = ["Engine"]


class Engine(wiring.Component):
    """Runs resident programs on maps in the activation memory.

    A pass flows through::

        passes → pixel_reader (5) ─┬→ mac_array ──┬→ drain (2) → requantizer → write_back (4)
                 weight memory ────┤→ pooling ────┤     ↑ parameter memory
                                   ├→ depthwise ──┤
                       add_tables ─┴→ add ────────┘

    None of these stages has back-pressure: the pass generator leaves each group as many cycles as
    requantisation takes.

    Parameters
    ----------
    config : VisionConfig
        Shape and depths.

    Members
    -------
    port : In(EnginePort)
        Program memories, pictures in, maps out, start and finish, counters.
    """

    def __init__(self, config: VisionConfig):
        self.config = config
        super().__init__({"port": In(EnginePort(config))})

    def elaborate(self, platform):
        m = Module()
        # An abort forgets everything that decides what happens next; data may stay.
        m.submodules.core = core = ResetInserter(self.port.abort)(_Core(self.config))
        wiring.connect(m, wiring.flipped(self.port), core.port)
        return m


class _Core(wiring.Component):
    def __init__(self, config: VisionConfig):
        self.config = config
        super().__init__({"port": In(EnginePort(config))})

    def elaborate(self, platform):
        m = Module()
        config = self.config
        port = self.port

        m.submodules.instructions = instructions = InstructionMemory(config)
        m.submodules.weights = weights = WeightMemory(config)
        m.submodules.parameters = parameters = ParameterMemory(config)
        m.submodules.activations = activations = ActivationMemory(config)
        m.submodules.sequencer = sequencer = Sequencer(config)
        m.submodules.passes = passes = LayerPasses(config)
        m.submodules.reader = reader = PixelReader(config)
        m.submodules.array = array = MacArray(config)
        pooling = PoolingUnit(config)
        m.submodules.add = add = AddUnit(config)
        m.submodules.add_tables = add_tables = AddTables()
        m.submodules.drain = drain = Drain(config)
        m.submodules.requantizer = requantizer = Requantizer(config)
        m.submodules.write_back = write_back = WriteBack(config)
        layer = sequencer.instruction

        # Program memories.
        for write_port, target in (
            (port.instruction_write, instructions.write),
            (port.weight_write, weights.write),
            (port.parameter_write, parameters.write),
        ):
            wiring.connect(m, wiring.flipped(write_port), target)
        m.d.comb += [
            instructions.read_address.eq(sequencer.memory_address),
            sequencer.memory_data.eq(instructions.read_data),
        ]

        # Control.
        wiring.connect(m, wiring.flipped(port.start), sequencer.start)
        wiring.connect(m, wiring.flipped(port.finish), sequencer.finish)
        m.d.comb += [
            passes.instruction.eq(layer),
            passes.weight_base.eq(sequencer.weight_base),
            passes.start.eq(sequencer.layer_start),
            sequencer.passes_done.eq(passes.done),
            sequencer.layer_done.eq(write_back.done),
            sequencer.passing.eq(passes.issue.valid),
            sequencer.waiting.eq(passes.waiting),
            port.release_input.eq(sequencer.release_input),
            port.running.eq(sequencer.running),
            port.array_active.eq(passes.issue.valid),
        ]

        # Pixels and weights meet at the array.
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

        # Completed sums to the requantiser.
        early = self._delay(m, valid & last, array.latency - 1, "early", reset_less=False)
        pooled = [list(sums) for sums in pooling.sums]
        lane_sum = LaneSum(config)
        # What a layer does not use stands still: power on the chip, time in simulation.
        m.submodules.pooling = EnableInserter(pools)(pooling)
        m.submodules.lane_sum = EnableInserter(pools)(lane_sum)
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
                depthwise.valid.eq(valid & passes.depthwise),
                depthwise.first.eq(first),
                depthwise.strobe.eq(strobe),
                depthwise.weights.eq(weights.read_data),
                depthwise.load.eq(load),
            ]
            for row, word in enumerate(depthwise.column):
                m.d.comb += word.eq(reader.words[row])
            slower = depthwise.latency - array.latency
            late = self._delay(m, early, slower, "late", reset_less=False)
            early = Mux(passes.depthwise, late, early)
            depthwise_sums = depthwise.sums
        early = Mux(layer.merge_lanes, merged, early)
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

        # All units but the array fill a tile's first plane. Two bits choose, decoded long before
        # a layer's first sums: a look-up table a bit.
        unit = Signal(2, reset_less=True)
        m.d.sync += unit.eq(Cat(pools | adds, passes.depthwise | adds))
        for pixel in range(config.pixels):
            for channel in range(config.output_channels):
                total = array.sums[pixel][channel]
                if channel < config.input_channels:
                    total = Mux(
                        unit[1],
                        Mux(unit[0], add.sums[pixel][channel], depthwise_sums[pixel][channel]),
                        Mux(unit[0], pooled[pixel][channel], total),
                    )
                m.d.comb += drain.sums[pixel][channel].eq(total)

        # Results to the activation memory, beside the next picture.
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

        # Counters by layer, of the last run.
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
        return m

    @staticmethod
    def _delay(m, value, cycles, name, *, reset_less=True):
        """``value`` of ``cycles`` cycles ago."""
        for stage in range(cycles):
            register = Signal.like(value, name=f"{name}_delay{stage}", reset_less=reset_less)
            m.d.sync += register.eq(value)
            value = register
        return value
