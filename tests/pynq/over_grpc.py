"""Stock PYNQ in other processes, on a simulated PYNQ-Z2 behind PYNQ.remote's services.

Not collected by itself, see ``in_process.py``.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from drivers.simulated.pynq.remote import PORT
from eyas.interfaces.thc.registers import THC_REGISTERS

ROOT = Path(__file__).resolve().parents[2]
DATA = Path(os.environ["EYAS_PYNQ_DATA"])
PREAMBLE = """
import sys, time
from pathlib import Path
import numpy as np
from pynq import Overlay
from drivers.errors import EyasError
from eyas.interfaces.vision.program_file import Program
files, data = map(Path, sys.argv[1:])
engine = Overlay(str(files / "vision.bit")).vision_0
expected = np.load(data / "expected.npz")
"""


def client(host: str, files: Path, *command: str, **options) -> subprocess.Popen:
    """A process in which PYNQ knows the served board."""
    environment = {**os.environ, "PYNQ_REMOTE_DEVICES": host}
    return subprocess.Popen(
        [sys.executable, *command, files, DATA], cwd=ROOT, env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options,
    )  # fmt: skip


def free_host() -> str:
    """PYNQ's port is fixed, loopback has many addresses."""
    for last in range(1, 255):
        host = f"127.77.{os.getpid() % 255}.{last}"
        with socket.socket() as probe:
            if probe.connect_ex((host, PORT)):
                return host
    raise AssertionError("every loopback address is taken")


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("overlays")


@pytest.fixture(scope="module")
def host(files) -> Iterator[str]:
    host = free_host()
    command = ["-m", "drivers.simulated.pynq.remote", "--small", "--host", host, "--files", files]
    with subprocess.Popen(
        [sys.executable, *command], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as server:
        try:
            line = server.stdout.readline()
            assert f"listens on {host}:{PORT}" in line, "the server does not start"
            yield host
        finally:
            server.terminate()


def test_the_script_runs_as_it_is(host, files):
    with client(host, files, "tests/pynq/use_overlays.py") as process:
        output, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    assert "vision: 63 values equal" in output
    assert "thc: 3001 sums and 1536 bytes of indices equal" in output
    assert "switch: 5 packets equal" in output


def test_two_processes_at_once(host, files):
    """The second is refused by name; when the first has ended the board is free again."""
    use = (
        PREAMBLE
        + """
engine.load(Program.load(data / "network.eyas"))
equal = (engine.infer(expected["pictures"]).outputs == expected["outputs"]).all()
print("ready", equal, flush=True)
sys.stdin.read()
"""
    )
    refused = (
        PREAMBLE.split("engine =")[0]
        + """
try:
    Overlay(str(files / "vision.bit")).vision_0
except EyasError as error:
    print(type(error).__name__, error)
"""
    )
    with client(host, files, "-c", use, stdin=subprocess.PIPE) as first:
        assert first.stdout.readline() == "ready True\n", first.communicate(timeout=60)[1]
        with client(host, files, "-c", refused) as second:
            output, errors = second.communicate(timeout=120)
        assert output.startswith(f"BoardBusy Process {first.pid} uses overlay remote0"), errors
        first.communicate("", timeout=60)
    with client(host, files, "-c", use, stdin=subprocess.PIPE) as third:
        output, errors = third.communicate("", timeout=120)
    assert output == "ready True\n", errors


def test_faults_are_named_and_the_board_goes_on(host, files):
    faults = (
        PREAMBLE
        + """
for action in (
    lambda: engine.board.allocate(1 << 30),
    lambda: engine.board.wait_interrupt(0.001, "nothing"),
    lambda: engine.board.read_register(0xFFC),
):
    try:
        action()
    except EyasError as error:
        print(type(error).__name__)
engine.load(Program.load(data / "network.eyas"))
print((engine.infer(expected["pictures"]).outputs == expected["outputs"]).all())
"""
    )
    with client(host, files, "-c", faults) as process:
        output, errors = process.communicate(timeout=120)
    assert output.split() == ["OutOfMemory", "BoardTimeout", "RegisterError", "True"], errors


def test_our_boards_are_opened_by_host_and_port_in_any_thread(files):
    """At a port that PYNQ itself does not look at, as the server's hint says."""
    script = """
import sys, threading
from drivers.errors import NoBoard
from drivers.open_board import open_board
files, address = sys.argv[1], sys.argv[3]
def work():
    with open_board("thc", remote=address, bitstreams=files) as board:
        print(hex(board.read_register(0)))
    try:
        open_board("thc", remote="127.0.0.1:1", bitstreams=files)
    except NoBoard as error:
        print(error)
thread = threading.Thread(target=work)
thread.start()
thread.join()
"""
    command = ["-m", "drivers.simulated.pynq.remote", "--small", "--port", "0", "--files", files]
    with subprocess.Popen(
        [sys.executable, *command], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as server:
        try:
            hint = server.stdout.readline().strip()
            address = hint.rpartition("--remote ")[2].removesuffix(" of our commands")
            assert address.startswith("127.0.0.1:"), hint
            done = subprocess.run(
                [sys.executable, "-c", script, files, DATA, address], cwd=ROOT, text=True,
                capture_output=True, timeout=120, check=False,
            )  # fmt: skip
        finally:
            server.terminate()
    identity, refused = done.stdout.splitlines() or ("", done.stderr)
    assert int(identity, 16) == THC_REGISTERS["identity"].reset
    assert refused.startswith("No board answers at 127.0.0.1:1 within 5 s; check the address")


def test_the_server_says_that_its_port_is_taken(host):
    done = subprocess.run(
        [sys.executable, "-m", "drivers.simulated.pynq.remote", "--small", "--host", host],
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert f"Port {PORT} of {host} cannot be had; end what listens there" in done.stderr


def test_a_bitstream_of_something_else(host, files, tmp_path):
    """The board answers a file that names no overlay of ours with what it has."""
    for name in ("vision.bit", "vision.hwh"):
        data = (
            (files / name)
            .read_bytes()
            .replace(b"simulated overlay vision", b"nothing that there is ..")
        )
        (tmp_path / name.replace("vision", "other")).write_bytes(data)
    script = (
        PREAMBLE.split("engine =")[0]
        + """
try:
    Overlay(str(files / "other.bit"))
except Exception as error:
    print(error.details())
"""
    )
    with client(host, tmp_path, "-c", script) as process:
        output, errors = process.communicate(timeout=120)
    assert output == "The simulated PYNQ-Z2 has no overlay 'other'; it has switch, thc, vision\n", (
        errors
    )
