"""The hardware description beside a bitstream: what PYNQ learns of an overlay, as ``NAME.hwh``.

Vivado writes such a file for a block design; ours has none, so it comes from the register data.
It holds what PYNQ reads (versions 3.0 to 4.0) and nothing for decoration: the processing system
with its clocks, the overlay behind GP0 with its registers, and its interrupt.  Standard library
only.
"""

from __future__ import annotations

from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

from eyas.interfaces.fields import Access, Field, Register
from eyas.interfaces.overlays import CLOCK_HZ, REGISTER_BASE, OverlayDescription

__all__ = ["IO_PLL_HZ", "PROCESSING_SYSTEM", "clock_divisors", "field_name", "hwh"]

IO_PLL_HZ = 1_000_000_000
"""The PLL that feeds FCLK0, as the PYNQ-Z2's boot loader sets it up, in Hz."""
PROCESSING_SYSTEM = "processing_system7_0"
"""Instance name of the processing system."""
_MASTER, _SLAVE, _INTERRUPTS = "M_AXI_GP0", "s_axi", "IRQ_F2P"
_TAKEN = {"access", "address", "debug", "width"}
"""Attributes of PYNQ's registers: a field of such a name would hide one, and none could be made."""
_MEMORY_MAPPED = "xilinx.com:interface:aximm:1.0"
_ACCESS = {
    Access.R: "read-only",
    Access.W: "write-only",
    Access.RW: "read-write",
    Access.RW1C: "read-write",
}


def clock_divisors(clock_hz: int) -> tuple[int, int]:
    """Return the two divisors, each of 1 to 63, that make ``clock_hz`` of the IO PLL.

    Raises ValueError for a frequency that no pair makes exactly.
    """
    for second in range(1, 64):
        first, rest = divmod(IO_PLL_HZ, clock_hz * second)
        if rest == 0 and 1 <= first <= 63:
            return first, second
    raise ValueError(
        f"FCLK0 cannot run at {clock_hz} Hz: the frequency must be {IO_PLL_HZ} Hz divided by two "
        f"integers of 1 to 63"
    )


def field_name(register: Register, field: Field) -> str:
    """Return PYNQ's name of ``field``: with the register's in front where PYNQ has it already."""
    return f"{register.name}_{field.name}" if field.name in _TAKEN else field.name


def _parameters(parent: Element, values: dict[str, object]) -> None:
    group = SubElement(parent, "PARAMETERS")
    for name, value in values.items():
        SubElement(group, "PARAMETER", NAME=name, VALUE=str(value))


def _properties(parent: Element, **values: object) -> None:
    for name, value in values.items():
        SubElement(parent, "PROPERTY", NAME=name.upper(), VALUE=str(value))


def _register(parent: Element, register: Register) -> None:
    access = _ACCESS[register.access]
    item = SubElement(parent, "REGISTER", NAME=register.name)
    _properties(
        item,
        description=register.doc,
        address_offset=f"{register.offset:#x}",
        size=32,
        access=access,
        is_enabled="true",
    )
    fields = SubElement(item, "FIELDS")
    for field in register.fields:
        _properties(
            SubElement(fields, "FIELD", NAME=field_name(register, field)),
            description=field.doc,
            bit_offset=register.offsets[field.name],
            bit_width=field.width,
            access=access,
        )


def _port(parent: Element, name: str, direction: str, signal: str, to: tuple[str, str]) -> None:
    ports = SubElement(parent, "PORTS")
    port = SubElement(
        ports, "PORT", DIR=direction, NAME=name, SIGIS="INTERRUPT", SIGNAME=signal,
    )  # fmt: skip
    SubElement(SubElement(port, "CONNECTIONS"), "CONNECTION", INSTANCE=to[0], PORT=to[1])


def _bus(parent: Element, name: str, kind: str) -> None:
    group = SubElement(parent, "BUSINTERFACES")
    SubElement(group, "BUSINTERFACE", NAME=name, TYPE=kind, VLNV=_MEMORY_MAPPED)


def _clock_parameters(clock_hz: int) -> dict[str, object]:
    """FCLK0 runs the overlay; FCLK1 to FCLK3 are off."""
    values: dict[str, object] = {}
    for index in range(4):
        first, second = clock_divisors(clock_hz) if index == 0 else (1, 1)
        values |= {
            f"PCW_FPGA_FCLK{index}_ENABLE": int(index == 0),
            f"PCW_FCLK{index}_PERIPHERAL_CLKSRC": "IO PLL",
            f"PCW_FCLK{index}_PERIPHERAL_DIVISOR0": first,
            f"PCW_FCLK{index}_PERIPHERAL_DIVISOR1": second,
            # PYNQ 4.0.0 asks for this name on every chip, and fails where it is not there.
            f"PSU__CRL_APB__PL{index}_REF_CTRL__ACT_FREQMHZ": f"{clock_hz / 1e6:g}",
        }
    return values


def hwh(overlay: OverlayDescription, *, clock_hz: int = CLOCK_HZ) -> str:
    """Return the hardware description of ``overlay`` on the PYNQ-Z2, as XML text.

    PYNQ finds the overlay as ``overlay.instance``, bound to drivers by ``overlay.vlnv``, its
    registers at ``REGISTER_BASE``; ``Overlay.download()`` sets FCLK0 to ``clock_hz``.  The
    interrupt goes to IRQ_F2P[0] without an interrupt controller
    (:attr:`OverlayDescription.interrupt_pin`).

    Raises ValueError for a ``clock_hz`` that FCLK0 cannot have.
    """
    root = Element("EDKSYSTEM", EDWVERSION="1.2")
    SubElement(
        root, "SYSTEMINFO", ARCH="zynq", BOARD="tul.com.tw:pynq-z2:part0:1.0", DEVICE="7z020",
        NAME=overlay.name, PACKAGE="clg400", SPEEDGRADE="-1",
    )  # fmt: skip
    SubElement(root, "EXTERNALPORTS")
    SubElement(root, "EXTERNALINTERFACES")
    modules = SubElement(root, "MODULES")
    signal = f"{overlay.instance}_interrupt"

    system = SubElement(
        modules, "MODULE", FULLNAME=f"/{PROCESSING_SYSTEM}", INSTANCE=PROCESSING_SYSTEM,
        IPTYPE="PERIPHERAL", IS_PL="FALSE", MODCLASS="PERIPHERAL", MODTYPE="processing_system7",
        VLNV="xilinx.com:ip:processing_system7:5.5",
    )  # fmt: skip
    _parameters(system, _clock_parameters(clock_hz))
    _port(system, _INTERRUPTS, "I", signal, (overlay.instance, "interrupt"))
    _bus(system, _MASTER, "MASTER")
    end = REGISTER_BASE + overlay.registers.size - 1
    SubElement(
        SubElement(system, "MEMORYMAP"), "MEMRANGE", ADDRESSBLOCK="registers",
        BASENAME="C_BASEADDR", BASEVALUE=f"{REGISTER_BASE:#010x}", HIGHNAME="C_HIGHADDR",
        HIGHVALUE=f"{end:#010x}", INSTANCE=overlay.instance, MASTERBUSINTERFACE=_MASTER,
        MEMTYPE="REGISTER", SLAVEBUSINTERFACE=_SLAVE,
    )  # fmt: skip

    module = SubElement(
        modules, "MODULE", FULLNAME=f"/{overlay.instance}", INSTANCE=overlay.instance,
        IPTYPE="PERIPHERAL", MODCLASS="PERIPHERAL", MODTYPE=overlay.name, VLNV=overlay.vlnv,
    )  # fmt: skip
    blocks = SubElement(module, "ADDRESSBLOCKS")
    block = SubElement(
        blocks, "ADDRESSBLOCK", ACCESS="read-write", INTERFACE=_SLAVE, NAME="registers",
        RANGE=str(overlay.registers.size), USAGE="register",
    )  # fmt: skip
    registers = SubElement(block, "REGISTERS")
    for register in overlay.registers.registers:
        _register(registers, register)
    _parameters(
        module,
        {"C_BASEADDR": f"{REGISTER_BASE:#010x}", "C_HIGHADDR": f"{end:#010x}"},
    )
    _port(module, "interrupt", "O", signal, (PROCESSING_SYSTEM, _INTERRUPTS))
    _bus(module, _SLAVE, "SLAVE")

    ElementTree.indent(root)
    text = ElementTree.tostring(root, encoding="unicode")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{text}\n'
