"""Files that are kept between runs, each with a checksum that tells if it is damaged.

Models, Verilog, benches, synthesis results: each under a hash of all that it depends on.

The checksum (here: the seal) of ``model.so`` is in ``model.so.sha256``, as ``sha256sum --check``
reads it. A file that does not match its seal is removed and made again. A line in the log says so;
its level is WARNING, so Python prints it on standard error.
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from drivers.errors import BuildFailed

__all__ = [
    "adopt",
    "cache_folder",
    "can_be_written",
    "cannot_be_kept",
    "content_key",
    "discard",
    "is_whole",
    "keep",
    "locked",
    "sealed",
]

_log = logging.getLogger(__name__)


def cache_folder() -> Path:
    """Return where models are kept: ``$EYAS_CACHE``, else ``eyas`` in the user's cache folder.

    Raises BuildFailed for a user without a home folder.
    """
    if chosen := os.environ.get("EYAS_CACHE"):
        return Path(chosen).absolute()
    base = os.environ.get("XDG_CACHE_HOME")
    try:
        return (Path(base) if base else Path.home() / ".cache") / "eyas"
    except RuntimeError:
        raise BuildFailed(
            "There is no home folder to keep simulation models in; set EYAS_CACHE to a folder"
        ) from None


def content_key(*parts: str | bytes) -> str:
    """Name of what depends on ``parts`` and on nothing else: 32 hexadecimal digits."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update((part.encode() if isinstance(part, str) else part) + b"\0")
    return digest.hexdigest()[:32]


def cannot_be_kept(what: str, folder: Path, error: OSError) -> BuildFailed:
    """Return the error that tells why ``folder`` holds no ``what``, and what to do."""
    return BuildFailed(
        f"{what} cannot be kept in {folder} ({error.strerror or error}); make room there or set "
        f"EYAS_CACHE to another folder"
    )


def can_be_written(folder: Path) -> None:
    """Raise OSError when no file can be made in ``folder``, which is made where it is missing."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder):
        pass


def sealed(path: Path) -> Path:
    """Return the name of the seal of ``path``."""
    return path.with_name(f"{path.name}.sha256")


def is_whole(path: Path) -> bool:
    """Whether ``path`` is there and matches its seal; reads the file once."""
    try:
        found = hashlib.sha256(path.read_bytes()).hexdigest()
        return sealed(path).read_bytes() == f"{found}  {path.name}\n".encode()
    except OSError:
        return False


def keep(path: Path, data: bytes) -> None:
    """Write ``data`` to ``path``, whole or not at all, with its seal; its folder must be there."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        temporary.write_bytes(data)
        adopt(temporary, path)
    except OSError:
        with suppress(OSError):
            temporary.unlink()
        raise


def adopt(finished: Path, path: Path) -> None:
    """Move the file ``finished`` to ``path`` on the same disk, with a seal.

    The seal goes first: what two processes make at once is alike, and a file never stands without.
    """
    line = f"{hashlib.sha256(finished.read_bytes()).hexdigest()}  {path.name}\n"
    part = sealed(path).with_name(f"{sealed(path).name}.{os.getpid()}")
    try:
        part.write_bytes(line.encode())
        part.replace(sealed(path))
        finished.replace(path)
    except OSError:
        with suppress(OSError):
            part.unlink()
        raise


def discard(path: Path) -> None:
    """Remove what is at ``path`` (a damaged file, or the folder of one) and say so in the log."""
    if not path.exists() and not path.is_symlink():
        return
    _log.warning("%s is damaged; it is made again", path)
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


@contextmanager
def locked(path: Path, waits: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Hold the lock of file ``path``; it goes with the process, however that ends.

    ``waits`` is called when another process holds it.
    """
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            waits()
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
