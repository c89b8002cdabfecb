"""Block memories of the vision engine, each with a registered output so that timing closes."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from eyas.interfaces.vision.config import VisionConfig
from hdl.parts.block_memory import BlockMemory
from hdl.vision.interfaces import (
    InstructionWritePort,
    ParameterWritePort,
    WeightWritePort,
    parameter_layout,
)

__all__ = [
    "ActivationMemory",
    "InstructionMemory",
    "ParameterMemory",
    "WeightMemory",
]


class ActivationMemory(wiring.Component):
    """One bank of words a pixel lane; every bank has its own read and write address.

    Members
    -------
    read_address, read_data : per bank
        Data follows the address by two cycles.
    write_enable, write_address, write_data : per bank
    """

    latency = BlockMemory.latency

    def __init__(self, config: VisionConfig):
        self.config = config
        address = data.ArrayLayout(ceil_log2(config.bank_words), config.pixels)
        words = data.ArrayLayout(config.word_bits, config.pixels)
        super().__init__(
            {
                "read_address": In(address),
                "read_data": Out(words),
                "write_enable": In(config.pixels),
                "write_address": In(address),
                "write_data": In(words),
            }
        )

    def elaborate(self, platform):
        m = Module()
        for number in range(self.config.pixels):
            bank = BlockMemory(self.config.word_bits, self.config.bank_words)
            m.submodules[f"bank{number}"] = bank
            m.d.comb += [
                bank.write_enable.eq(self.write_enable[number]),
                bank.write_address.eq(self.write_address[number]),
                bank.write_data.eq(self.write_data[number]),
                bank.read_address.eq(self.read_address[number]),
                self.read_data[number].eq(bank.read_data),
            ]
        return m


class WeightMemory(wiring.Component):
    """Resident weights: a row holds one pass's weights of all output channels.

    Members
    -------
    write : In(WeightWritePort)
    read_row : In
    read_data : Out(ArrayLayout[output_channels][input_channels] of signed 8)
        Belongs to the row of two cycles before.
    """

    latency = BlockMemory.latency

    def __init__(self, config: VisionConfig):
        self.config = config
        super().__init__(
            {
                "write": In(WeightWritePort(config)),
                "read_row": In(ceil_log2(config.weight_rows)),
                "read_data": Out(data.ArrayLayout(config.word_bits, config.output_channels)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        for column in range(self.config.output_channels):
            part = BlockMemory(self.config.word_bits, self.config.weight_rows)
            m.submodules[f"column{column}"] = part
            m.d.comb += [
                part.write_enable.eq(self.write.enable & (self.write.column == column)),
                part.write_address.eq(self.write.row),
                part.write_data.eq(self.write.data),
                part.read_address.eq(self.read_row),
                self.read_data[column].eq(part.read_data),
            ]
        return m


class ParameterMemory(wiring.Component):
    """Requantisation parameters: a row serves the channels of one requantisation cycle.

    A column fills the width of its block RAMs, 72 bits, but for its last bit, which stands in
    distributed memory.

    Members
    -------
    write : In(ParameterWritePort)
    read_row : In
    read_data : Out(ArrayLayout(parameter_layout, requantize_channels))
        Belongs to the row of two cycles before.
    """

    latency = BlockMemory.latency

    def __init__(self, config: VisionConfig):
        self.config = config
        super().__init__(
            {
                "write": In(ParameterWritePort(config)),
                "read_row": In(ceil_log2(config.parameter_rows)),
                "read_data": Out(data.ArrayLayout(parameter_layout, config.requantize_channels)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        for column in range(self.config.requantize_channels):
            part = BlockMemory(parameter_layout.size - 1, self.config.parameter_rows)
            m.submodules[f"column{column}"] = part
            m.submodules[f"bits{column}"] = bits = memory.Memory(
                shape=1,
                depth=self.config.parameter_rows,
                init=[],
                attrs={"ram_style": "distributed"},
            )
            write, read = bits.write_port(), bits.read_port(domain="sync")
            bit = Signal(name=f"bit{column}", reset_less=True)
            data_in = self.write.data.as_value()
            enable = self.write.enable & (self.write.column == column)
            m.d.sync += bit.eq(read.data)
            m.d.comb += [
                part.write_enable.eq(enable),
                part.write_address.eq(self.write.row),
                part.write_data.eq(data_in[:-1]),
                part.read_address.eq(self.read_row),
                write.en.eq(enable),
                write.addr.eq(self.write.row),
                write.data.eq(data_in[-1]),
                read.en.eq(1),
                read.addr.eq(self.read_row),
                self.read_data[column].as_value().eq(Cat(part.read_data, bit)),
            ]
        return m


class InstructionMemory(wiring.Component):
    """Macro-instructions of all resident programs, as 64-bit words.

    Members
    -------
    write : In(InstructionWritePort)
    read_address, read_data
        Data follows the address by two cycles.
    """

    latency = BlockMemory.latency

    def __init__(self, config: VisionConfig):
        self.config = config
        super().__init__(
            {
                "write": In(InstructionWritePort(config)),
                "read_address": In(ceil_log2(config.instruction_words)),
                "read_data": Out(64),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.words = words = BlockMemory(64, self.config.instruction_words)
        m.d.comb += [
            words.write_enable.eq(self.write.enable),
            words.write_address.eq(self.write.address),
            words.write_data.eq(self.write.data),
            words.read_address.eq(self.read_address),
            self.read_data.eq(words.read_data),
        ]
        return m
