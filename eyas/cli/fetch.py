"""``eyas fetch``: published networks and pictures that are not part of Eyas."""

from __future__ import annotations

import enum
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from eyas.cli.common.download import Download, download, is_there, part_of
from eyas.cli.common.errors import CommandError

if TYPE_CHECKING:
    from rich.progress import Progress

__all__ = ["CATALOGUE", "Collection", "fetch"]


class Collection(str, enum.Enum):
    """What can be fetched."""

    resnet8 = "resnet8"
    vww = "vww"
    kws = "kws"
    fashion_mnist = "fashion-mnist"


# Both at a commit, so that the files cannot change under their hashes.
_TINY: Final = (
    "https://raw.githubusercontent.com/mlcommons/tiny/"
    "4addd0fa08d216e20637637874e084895f289da4/benchmark/training/"
)
_FASHION: Final = (
    "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/"
    "b2617bb6d3ffa2e429640350f613e3291e10b141/data/fashion/"
)


def _network(folder: str, file: str, size: int, sha256: str) -> tuple[Download, ...]:
    url = f"{_TINY}{folder}/trained_models/{file}"
    return (Download(f"mlperf_tiny/{file}", url, size, sha256),)


def _pictures(file: str, size: int, sha256: str) -> Download:
    return Download(f"fashion_mnist/{file}", f"{_FASHION}{file}", size, sha256)


CATALOGUE: Final[dict[Collection, tuple[Download, ...]]] = {
    Collection.resnet8: _network(
        "image_classification",
        "pretrainedResnet_quant.tflite",
        98_496,
        "3c002613d1b2475eb51dd78dfb85a546c8ae658dee71cf6ade43b022fe205415",
    ),
    Collection.vww: _network(
        "visual_wake_words",
        "vww_96_int8.tflite",
        333_288,
        "597a384c8c2c8a1276f04702f25013b7838f2f814f1ca7c174d295b73e3d6b7b",
    ),
    Collection.kws: _network(
        "keyword_spotting",
        "kws_ref_model.tflite",
        53_936,
        "aeea436800704fce17b17292e4412630ad856e9d777c044c64ef748a880bd0ae",
    ),
    Collection.fashion_mnist: (
        _pictures(
            "train-images-idx3-ubyte.gz",
            26_421_880,
            "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
        ),
        _pictures(
            "train-labels-idx1-ubyte.gz",
            29_515,
            "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
        ),
        _pictures(
            "t10k-images-idx3-ubyte.gz",
            4_422_102,
            "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
        ),
        _pictures(
            "t10k-labels-idx1-ubyte.gz",
            5_148,
            "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
        ),
    ),
}
"""MLPerf Tiny's networks (MLCommons, Apache-2.0) and Fashion-MNIST (Zalando, MIT)."""


def fetch(
    names: Annotated[
        list[Collection] | None,
        typer.Argument(
            metavar="NAME",
            help="*resnet8*, *vww*, *kws* or *fashion-mnist*. Without a name, all are fetched.",
        ),
    ] = None,
    directory: Annotated[
        Path,
        typer.Option(
            "--directory",
            "-d",
            metavar="DIR",
            envvar="EYAS_DATA",
            file_okay=False,
            help="Folder for the files.",
        ),
    ] = Path("data"),
) -> None:
    """Fetch MLPerf Tiny's networks and Fashion-MNIST.

    *resnet8*, *vww* and *kws* are int8 networks (MLCommons, Apache-2.0), for *eyas compile*.
    *fashion-mnist* is the four original IDX files (Zalando, MIT), for *eyas thc train*; *eyas run*
    reads their pictures too. Every file is checked by its SHA-256. If a download breaks off, the
    same command goes on from there. A file that is there already is not fetched again.
    """
    from eyas.cli.common.console import bytes_progress, say
    from eyas.cli.common.files import check_folder

    check_folder(directory)
    wanted = {
        item: directory / item.path for name in names or Collection for item in CATALOGUE[name]
    }
    missing = {item: target for item, target in wanted.items() if not is_there(item, target)}
    _check_space(directory, missing)
    with bytes_progress() as progress:
        for item, target in wanted.items():
            if item not in missing:
                say(f"{target}: there already")
                continue
            _fetch(item, target, progress)
            say(f"{target}: {item.size:,} bytes")


def _fetch(item: Download, target: Path, progress: Progress) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if part_of(target).exists():
        progress.console.print(f"{target.name}: going on where it broke off")
    task = progress.add_task(target.name, total=item.size)
    download(item, target, lambda count: progress.update(task, completed=count))


def _check_space(directory: Path, missing: dict[Download, Path]) -> None:
    """Fail now rather than when the disk is full."""
    needed = sum(item.size for item in missing)
    for target in missing.values():
        part = part_of(target)
        needed -= part.stat().st_size if part.exists() else 0
    place = directory
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    if needed > free:
        raise CommandError(
            f"{directory}: {needed:,} bytes are to be fetched, and {free:,} are free there"
        )
