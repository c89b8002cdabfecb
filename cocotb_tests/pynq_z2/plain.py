"""A scenario on the bare overlay, Verilated behind the simulated board's harness."""

from pathlib import Path

import numpy as np

from bitstreams.pynq_z2.designs import DESIGNS
from cocotb_tests.pynq_z2.scenarios import DRAM, Scenario
from drivers.errors import RegisterError
from drivers.simulated.build import build_model
from drivers.simulated.model import Model
from drivers.simulated.verilog import overlay_verilog

__all__ = ["run_plain"]

LIMIT = 200_000
"""Cycles that no wait takes."""
RESPONSES = {"SLVERR": 2, "DECERR": 3}


def run_plain(work: Scenario, path: Path) -> None:
    """Run ``work``; write memory and registers afterwards to the .npz file ``path``."""
    config = DESIGNS[work.overlay].config(work.config)
    verilog = overlay_verilog(work.overlay, config, lambda step, share: None)
    library = build_model(verilog, top=work.overlay)
    memory = np.frombuffer(bytearray(work.memory), np.uint8)
    model = Model(library, memory, DRAM)
    registers = work.registers
    try:
        for kind, what, *more in work.steps:
            if kind == "write":
                register = registers[what]
                model.write_register(register.offset, register.pack(more[0]))
            elif kind == "wait":
                model.run(LIMIT, until_interrupt=True)
                assert model.interrupt, f"waited {LIMIT} cycles for {what}"
                status = registers["interrupt_status"]
                found = status.unpack(model.read_register(status.offset))
                assert found == work.causes, f"waiting for {what}: {found}"
                model.write_register(status.offset, status.pack(dict.fromkeys(found, 1)))
            else:
                register = registers[what]
                for _ in range(100):
                    model.run(10)
                    found = register.unpack(model.read_register(register.offset))
                    if found.items() >= more[0].items():
                        break
                else:
                    raise AssertionError(f"{what} stays {found}, not {more[0]}")
        words = [_read(model, offset) for offset in range(0, 0x40, 4)]
    finally:
        model.close()
    np.savez(path, memory=memory, registers=np.array(words, np.uint64))


def _read(model: Model, offset: int) -> tuple[int, int]:
    """The register and the response."""
    try:
        return model.read_register(offset), 0
    except RegisterError as error:
        return 0, next(code for name, code in RESPONSES.items() if name in str(error))
