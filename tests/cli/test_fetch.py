"""eyas fetch against a server of our own: whole, broken off and resumed, wrong, and not there."""

import hashlib
import http.server
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from eyas.cli import fetch as command
from eyas.cli.common.download import Download
from tests.data import data_file

SEED = 31
CONTENT = {
    f"/{name}": np.random.default_rng(SEED + index).bytes(size)
    for index, (name, size) in enumerate((("big.bin", 300_000), ("small.bin", 7)))
}


@dataclass
class Server:
    """What the server does next, and what it was asked."""

    url: str = ""
    break_after: int | None = None
    """Bytes of an answer after which the connection drops."""
    ranges: bool = True
    """Whether it understands Range."""
    requests: list[tuple[str, str | None]] = field(default_factory=list)
    contents: dict[str, bytes] = field(default_factory=lambda: dict(CONTENT))


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    state = Server()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            wanted = self.headers["Range"]
            state.requests.append((self.path, wanted))
            content = state.contents.get(self.path)
            if content is None:
                self.send_error(404)
                return
            start = 0
            if wanted and state.ranges:
                start = int(wanted.removeprefix("bytes=").removesuffix("-"))
                if start >= len(content):
                    self.send_error(416)
                    return
                self.send_response(206)
                self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/*")
            else:
                self.send_response(200)
            self.send_header("Content-Length", str(len(content) - start))
            self.end_headers()
            body = content[start:]
            self.wfile.write(body if state.break_after is None else body[: state.break_after])

        def log_message(self, *_: object) -> None:
            """Not on the test's standard error."""

    monkeypatch.setenv("no_proxy", "*")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listener:
        state.url = f"http://127.0.0.1:{listener.server_port}"
        listener.daemon_threads = False  # closing it waits for the answers under way
        thread = threading.Thread(target=listener.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        items = {
            path: Download(
                f"set{path}", state.url + path, len(data), hashlib.sha256(data).hexdigest()
            )
            for path, data in CONTENT.items()
        }
        monkeypatch.setattr(
            command,
            "CATALOGUE",
            dict.fromkeys(command.Collection, ())
            | {
                command.Collection.kws: (items["/small.bin"],),
                command.Collection.fashion_mnist: (items["/big.bin"], items["/small.bin"]),
            },
        )
        yield state
        listener.shutdown()
        thread.join()


def refused(answer, message: str) -> None:
    assert answer.code == 2
    (line,) = (item for item in answer.err.splitlines() if item.startswith("eyas: "))
    assert message in line
    assert "Traceback" not in answer.err


def held(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_everything_then_nothing_again(eyas, server: Server, tmp_path: Path) -> None:
    folder = tmp_path / "new" / "data"
    answer = eyas("fetch", "-d", folder)
    assert answer.code == 0, answer.err
    assert answer.out.splitlines() == [
        f"{folder}/set/small.bin: 7 bytes",
        f"{folder}/set/big.bin: 300,000 bytes",
    ]
    assert held(folder) == {f"set{path}": data for path, data in CONTENT.items()}
    server.requests.clear()
    answer = eyas("fetch", "-d", folder)
    assert answer.code == 0
    assert answer.out.count(": there already") == 2
    assert server.requests == [], "what is there was fetched again"


def test_one_collection_into_the_folder_that_the_environment_names(
    eyas, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EYAS_DATA", str(tmp_path))
    assert eyas("fetch", "kws").code == 0
    assert held(tmp_path) == {"set/small.bin": CONTENT["/small.bin"]}


@pytest.mark.parametrize("ranges", [True, False])
def test_a_broken_connection_is_resumed(eyas, server: Server, tmp_path: Path, ranges: bool) -> None:
    server.break_after, server.ranges = 100_000, ranges
    refused(
        eyas("fetch", "fashion-mnist", "-d", tmp_path),
        "broke after 100,000 of 300,000 bytes; the same command goes on from there",
    )
    assert held(tmp_path) == {"set/big.bin.part": CONTENT["/big.bin"][:100_000]}
    server.break_after = None
    answer = eyas("fetch", "fashion-mnist", "-d", tmp_path)
    assert answer.code == 0, answer.err
    assert server.requests[1] == ("/big.bin", "bytes=100000-")
    assert held(tmp_path) == {f"set{path}": data for path, data in CONTENT.items()}


def test_breaks_add_up(eyas, server: Server, tmp_path: Path) -> None:
    server.break_after = 120_000
    codes = [eyas("fetch", "fashion-mnist", "-d", tmp_path).code for _ in range(3)]
    assert codes == [2, 2, 0]
    assert held(tmp_path)["set/big.bin"] == CONTENT["/big.bin"]


@pytest.mark.parametrize("change", ["one byte", "longer", "zeros"])
def test_other_content_is_not_kept(eyas, server: Server, tmp_path: Path, change: str) -> None:
    data = CONTENT["/big.bin"]
    server.contents["/big.bin"] = {
        "one byte": data[:-1] + bytes([data[-1] ^ 1]),
        "longer": data + b"more",
        "zeros": bytes(len(data)),
    }[change]
    refused(
        eyas("fetch", "fashion-mnist", "-d", tmp_path),
        "is not the published file (its SHA-256 differs), and was removed",
    )
    assert held(tmp_path) == {}


@pytest.mark.parametrize("size", [5, 300_000, 400_000])
def test_a_part_of_something_else(eyas, server: Server, tmp_path: Path, size: int) -> None:
    """What was left behind never ends in the file, and the next call starts anew."""
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "big.bin.part").write_bytes(bytes(size))
    first = eyas("fetch", "fashion-mnist", "-d", tmp_path)
    if size <= 300_000:
        refused(first, "SHA-256 differs")
        assert held(tmp_path) == {}
        assert eyas("fetch", "fashion-mnist", "-d", tmp_path).code == 0
    assert held(tmp_path)["set/big.bin"] == CONTENT["/big.bin"]


def test_a_whole_part_needs_no_server(eyas, server: Server, tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "small.bin.part").write_bytes(CONTENT["/small.bin"])
    assert eyas("fetch", "kws", "-d", tmp_path).code == 0
    assert server.requests == []
    assert held(tmp_path) == {"set/small.bin": CONTENT["/small.bin"]}


def test_a_range_that_the_server_cannot_give(eyas, server: Server, tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "big.bin.part").write_bytes(CONTENT["/big.bin"][:1000])
    server.contents["/big.bin"] = b"short"
    refused(eyas("fetch", "fashion-mnist", "-d", tmp_path), "broke after 5 of 300,000 bytes")
    assert [wanted for _, wanted in server.requests] == ["bytes=1000-", None]


def test_another_file_of_that_name_is_left_alone(eyas, server: Server, tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "small.bin").write_bytes(b"mine")
    refused(eyas("fetch", "-d", tmp_path), "is there, but is not the published file")
    assert held(tmp_path) == {"set/small.bin": b"mine"}
    assert server.requests == [], "something was fetched before the refusal"


def test_not_there(eyas, server: Server, tmp_path: Path) -> None:
    server.contents.clear()
    refused(eyas("fetch", "kws", "-d", tmp_path), "small.bin: the server answered 404")


def test_no_internet(eyas, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:  # bound and not listening: connections are refused
        taken.bind(("127.0.0.1", 0))
        item = Download("a", f"http://127.0.0.1:{taken.getsockname()[1]}/a", 5, "0" * 64)
        monkeypatch.setattr(command, "CATALOGUE", {command.Collection.kws: (item,)})
        monkeypatch.setenv("no_proxy", "*")
        answer = eyas("fetch", "kws", "-d", tmp_path)
    refused(answer, "127.0.0.1 cannot be reached")
    assert "eyas fetch needs the internet" in answer.err


def test_a_disk_that_fills_up(eyas, server: Server, tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("there is no /dev/full here")
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "big.bin.part").symlink_to("/dev/full")
    refused(
        eyas("fetch", "fashion-mnist", "-d", tmp_path),
        "no space left on the device; big.bin has 300,000 bytes",
    )
    assert not (tmp_path / "set" / "big.bin").exists()


def test_a_disk_without_the_room(
    eyas, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = type("Usage", (), {"free": 1000})
    monkeypatch.setattr(command.shutil, "disk_usage", lambda _: usage)
    refused(
        eyas("fetch", "-d", tmp_path / "new"),
        "300,007 bytes are to be fetched, and 1,000 are free there",
    )
    assert server.requests == []
    assert not (tmp_path / "new").exists()


def test_a_folder_that_cannot_be_one(eyas, server: Server, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    refused(eyas("fetch", "-d", tmp_path / "file" / "below"), "cannot be a folder")


def test_an_unknown_name(eyas, tmp_path: Path) -> None:
    answer = eyas("fetch", "imagenet", "-d", tmp_path)
    assert answer.code == 2
    assert "fashion-mnist" in answer.err


def test_the_catalogue_is_of_published_files() -> None:
    items = [item for group in command.CATALOGUE.values() for item in group]
    assert set(command.CATALOGUE) == set(command.Collection)
    assert len({item.path for item in items}) == len(items) == 7
    for item in items:
        assert item.url.startswith("https://raw.githubusercontent.com/")
        assert item.url.endswith(Path(item.path).name)
        assert len(item.sha256) == 64


@pytest.mark.parametrize("name", ["resnet8", "vww", "kws"])
def test_the_networks_are_those_that_are_tested(name: str) -> None:
    (item,) = command.CATALOGUE[command.Collection(name)]
    data = data_file(item.path).read_bytes()
    assert (len(data), hashlib.sha256(data).hexdigest()) == (item.size, item.sha256)
