"""The hardware description: what it says, and what PYNQ's own readers make of it."""

from pathlib import Path
from xml.etree import ElementTree

import pytest

from eyas.interfaces.fields import Access
from eyas.interfaces.overlays import CLOCK_HZ, INTERRUPT_NUMBER, OVERLAYS, REGISTER_BASE
from eyas.pages.hwh import IO_PLL_HZ, PROCESSING_SYSTEM, clock_divisors, field_name, hwh

ACCESS = {Access.R: "read-only", Access.W: "write-only"}

overlays = pytest.mark.parametrize("overlay", OVERLAYS.values(), ids=OVERLAYS)


def properties(element: ElementTree.Element) -> dict[str, str]:
    return {item.get("NAME", ""): item.get("VALUE", "") for item in element.findall("PROPERTY")}


@overlays
def test_registers_are_those_of_the_description(overlay) -> None:
    root = ElementTree.fromstring(hwh(overlay))
    found = root.findall(f".//MODULE[@INSTANCE='{overlay.instance}']//REGISTER")
    assert [item.get("NAME") for item in found] == [r.name for r in overlay.registers.registers]
    for element, register in zip(found, overlay.registers.registers, strict=True):
        values = properties(element)
        assert int(values["ADDRESS_OFFSET"], 16) == register.offset
        assert values["ACCESS"] == ACCESS.get(register.access, "read-write")
        assert values["DESCRIPTION"] == register.doc
        fields = {f.get("NAME"): properties(f) for f in element.findall("FIELDS/FIELD")}
        assert {
            name: (int(f["BIT_OFFSET"]), int(f["BIT_WIDTH"])) for name, f in fields.items()
        } == {field_name(register, f): (register.offsets[f.name], f.width) for f in register.fields}


@overlays
def test_the_processing_system_is_marked_as_vivado_marks_it(overlay) -> None:
    """PYNQ 3.0.1 finds it by nothing else; an overlay bears no such mark."""
    modules = ElementTree.fromstring(hwh(overlay)).iter("MODULE")
    marks = {module.get("INSTANCE"): module.get("IS_PL") for module in modules}
    assert marks == {PROCESSING_SYSTEM: "FALSE", overlay.instance: None}


def test_no_field_hides_what_pynq_calls_so() -> None:
    text = hwh(OVERLAYS["vision"])
    assert 'FIELD NAME="doorbell_address"' in text
    assert 'FIELD NAME="address"' not in text


@overlays
def test_the_interrupt_is_connected_at_both_ends(overlay) -> None:
    root = ElementTree.fromstring(hwh(overlay))
    ports = {
        (module.get("INSTANCE"), port.get("NAME")): port
        for module in root.iter("MODULE")
        for port in module.iter("PORT")
    }
    here, there = (overlay.instance, "interrupt"), (PROCESSING_SYSTEM, "IRQ_F2P")
    assert set(ports) == {here, there}
    assert ports[here].get("SIGNAME") == ports[there].get("SIGNAME")
    for end, other in ((here, there), (there, here)):
        connection = ports[end].find("CONNECTIONS/CONNECTION")
        assert connection is not None
        assert (connection.get("INSTANCE"), connection.get("PORT")) == other


@pytest.mark.parametrize("clock_hz", [100_000_000, 125_000_000, 50_000_000, 1_000_000, 300_000])
def test_clock(clock_hz: int) -> None:
    if clock_hz == 300_000:
        with pytest.raises(ValueError, match="FCLK0 cannot run at 300000 Hz"):
            hwh(OVERLAYS["vision"], clock_hz=clock_hz)
        return
    first, second = clock_divisors(clock_hz)
    assert first * second * clock_hz == IO_PLL_HZ
    assert first <= 63
    assert second <= 63
    assert f'"{clock_hz / 1e6:g}"' in hwh(OVERLAYS["vision"], clock_hz=clock_hz)


@overlays
def test_pynq_reads_it(overlay, tmp_path: Path) -> None:
    """Both of PYNQ's readers; its versions are those of the sessions that have it."""
    pytest.importorskip("pynqmetadata", reason="PYNQ has environments of its own: nox -s pynq")
    from pynq.metadata.runtime_metadata_parser import RuntimeMetadataParser
    from pynq.pl_server.hwh_parser import _HWHZynq
    from pynqmetadata.frontends import Metadata

    path = tmp_path / f"{overlay.name}.hwh"
    path.write_text(hwh(overlay))
    parser, older = RuntimeMetadataParser(Metadata(input=str(path))), _HWHZynq(str(path))
    block = parser.ip_dict[overlay.instance]
    assert block["type"] == overlay.vlnv
    assert (block["phys_addr"], block["addr_range"]) == (REGISTER_BASE, overlay.registers.size)
    for source in (block, older.ip_dict[overlay.instance]):
        assert {
            (name, field, data["bit_offset"], data["bit_width"])
            for name, register in source["registers"].items()
            for field, data in register["fields"].items()
        } == {
            (register.name, field_name(register, field), register.offsets[field.name], field.width)
            for register in overlay.registers.registers
            for field in register.fields
        }
    divisors = parser.clock_dict[0]
    assert (divisors["divisor0"], divisors["divisor1"]) == clock_divisors(CLOCK_HZ)
    assert [parser.clock_dict[i]["enable"] for i in range(4)] == [1, 0, 0, 0]
    pin = older.interrupt_pins[overlay.interrupt_pin]
    assert (pin["controller"], pin["raw_irq"]) == ("", INTERRUPT_NUMBER)
    assert parser.interrupt_pins == {}, "the driver no longer needs to add the pin"
    assert older.interrupt_controllers == parser.interrupt_controllers == {}
