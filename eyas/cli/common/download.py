"""Fetches one file: goes on where a download broke off, checks it, then gives it its name."""

from __future__ import annotations

import errno
import hashlib
import http.client
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from eyas.cli.common.errors import CommandError

__all__ = ["Download", "download", "is_there", "part_of"]

TIMEOUT: Final = 30.0  # seconds without a byte
CHUNK: Final = 1 << 16
OK, PARTIAL, RANGE_NOT_SATISFIABLE = 200, 206, 416

Progress = Callable[[int], None]


@dataclass(frozen=True)
class Download:
    """A file that is known to the byte.

    Parameters
    ----------
    path : str
        Where it goes, under the folder that the user names.
    url : str
        Where it comes from.
    size : int
        Bytes.
    sha256 : str
        Of its content, in hexadecimal.
    """

    path: str
    url: str
    size: int
    sha256: str


def part_of(target: Path) -> Path:
    """Where a file grows until it is whole."""
    return target.with_name(target.name + ".part")


def is_there(item: Download, target: Path) -> bool:
    """Whether the file was fetched already; CommandError when another one has its name."""
    if not target.exists():
        return False
    if not target.is_file() or _sha256(target) != item.sha256:
        raise CommandError(
            f"{target} is there, but is not the published file (its SHA-256 differs): move it "
            "away, then fetch again"
        )
    return True


def download(item: Download, target: Path, progress: Progress) -> None:
    """Fetch ``item``, going on from what an earlier call left in ``part_of(target)``.

    Parameters
    ----------
    item : Download
        What to fetch.
    target : Path
        Its name when it is whole and its SHA-256 right; its folder is there.
    progress : callable
        Called with the bytes that are there, now and then.

    Raises
    ------
    CommandError
        With one sentence. The part stays for the next call, unless its content is wrong.
    """
    part = part_of(target)
    if part.exists() and part.stat().st_size > item.size:
        part.unlink()  # of something else
    if _size(part) < item.size:
        try:
            _receive(item, part, progress)
        except urllib.error.HTTPError as error:
            error.close()  # it is the answer as well, with its connection
            raise CommandError(f"{item.url}: the server answered {error.code}") from error
        except (
            http.client.HTTPException,
            urllib.error.URLError,
            ConnectionError,
            TimeoutError,
        ) as error:
            raise _unreachable(item, part, error) from error
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise CommandError(
                    f"{part}: no space left on the device; {target.name} has {item.size:,} bytes"
                ) from error
            raise
    if _size(part) < item.size:
        raise _unreachable(item, part, None)
    if _sha256(part) != item.sha256:
        part.unlink()
        raise CommandError(
            f"{item.url}: what came is not the published file (its SHA-256 differs), and was "
            "removed; fetch again, and where that does not help tell us"
        )
    part.replace(target)


def _receive(item: Download, part: Path, progress: Progress) -> None:
    """Append what is missing to ``part``; at most one byte more than there should be."""
    start = _size(part)
    request = urllib.request.Request(item.url, headers={"User-Agent": "eyas"})
    if start:
        request.add_header("Range", f"bytes={start}-")
    with _opened(request) as response:
        goes_on = response.status == PARTIAL and _first_byte(response) == start
        with part.open("ab" if goes_on else "wb") as file:
            count = start if goes_on else 0
            progress(count)
            while count <= item.size and (data := response.read(CHUNK)):
                file.write(data[: item.size + 1 - count])
                count += len(data)
                progress(min(count, item.size))


def _opened(request: urllib.request.Request) -> http.client.HTTPResponse:
    try:
        return urllib.request.urlopen(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code != RANGE_NOT_SATISFIABLE:
            raise
        error.close()
    request.remove_header("Range")  # the part is none of this file
    return urllib.request.urlopen(request, timeout=TIMEOUT)


def _first_byte(response: http.client.HTTPResponse) -> int:
    """Where the answer to a Range request begins; -1 where it does not say so."""
    unit, _, span = (response.headers["Content-Range"] or "").partition(" ")
    first = span.partition("-")[0]
    return int(first) if unit == "bytes" and first.isdecimal() else -1


def _unreachable(item: Download, part: Path, error: Exception | None) -> CommandError:
    host, size = urlsplit(item.url).hostname, _size(part)
    if size:
        return CommandError(
            f"{item.url}: the connection to {host} broke after {size:,} of {item.size:,} bytes; "
            "the same command goes on from there"
        )
    reason = getattr(error, "reason", error) or "it sent nothing"
    return CommandError(
        f"{host} cannot be reached ({reason}): eyas fetch needs the internet; behind a proxy set "
        "https_proxy"
    )


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while data := file.read(CHUNK):
            digest.update(data)
    return digest.hexdigest()
