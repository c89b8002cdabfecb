"""Ordinary PYNQ code: drives every overlay, and compares every bit with what the models expect.

``python use_overlays.py FILES DATA``: FILES holds ``vision.bit``, ``thc.bit`` and ``switch.bit``
with their .hwh, DATA what ``tests.pynq.expected`` wrote. Nothing in here knows whether the board is
simulated.
"""

import sys
from pathlib import Path

import numpy as np
from pynq import Overlay

from eyas.interfaces.thc.formats import LookupTable
from eyas.interfaces.vision.program_file import Program


def classify(files: Path, data: Path, expected) -> None:
    overlay = Overlay(str(files / "vision.bit"))
    engine = overlay.vision_0
    registers = engine.register_map
    print(f"vision {registers.version.major}.{registers.version.minor}, {type(engine).__name__}")
    engine.load(Program.load(data / "network.eyas"))
    done = int(registers.jobs_done.value)
    result = engine.infer(expected["pictures"])
    np.testing.assert_array_equal(result.outputs, expected["outputs"])
    assert int(registers.jobs_done.value) - done == len(expected["pictures"])
    engine.close()
    print(f"vision: {result.outputs.size} values equal, {result.core_cycles[0]} cycles a picture")


def aggregate(files: Path, expected) -> None:
    overlay = Overlay(str(files / "thc.bit"))
    aggregator = overlay.thc_0
    table = LookupTable(expected["table"].tolist())
    packed, sums = expected["packed"], expected["sums"]
    aggregator.open(table, len(packed))
    np.testing.assert_array_equal(aggregator.aggregate(packed, len(sums)), sums)
    encoder = aggregator.encoder()
    indices = encoder.encode(
        expected["words"], expected["factors"], table, seed=1, step=2, worker=3
    )
    np.testing.assert_array_equal(indices, expected["indices"])
    aggregator.close()
    print(f"thc: {sums.size} sums and {indices.size} bytes of indices equal")


def switch(files: Path, expected) -> None:
    overlay = Overlay(str(files / "switch.bit"))
    with overlay.switch_0 as engine:
        engine.configure(0, 3, table=LookupTable(expected["table"].tolist()))
        packets = engine.exchange(expected["frames"])
    assert packets == [packet.tobytes() for packet in expected["packets"]]
    print(f"switch: {len(packets)} packets equal")


def main() -> None:
    files, data = Path(sys.argv[1]), Path(sys.argv[2])
    expected = np.load(data / "expected.npz")
    classify(files, data, expected)
    aggregate(files, expected)
    switch(files, expected)


if __name__ == "__main__":
    main()
