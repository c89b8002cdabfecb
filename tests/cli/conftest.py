"""A small network, its program and pictures as files, for the commands to work on."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from eyas.cli.main import main
from eyas.compiler import compile_graph
from eyas.interfaces.vision.config import SMALL_VISION
from models.vision.graph import Conv2D, FullyConnected, Graph, Tensor
from models.vision.reference import run

SEED = 20


@dataclass(frozen=True)
class Files:
    """Where things stand, and what they hold."""

    folder: Path
    graph: Graph
    model: Path
    program: Path
    pictures: Path
    images: np.ndarray
    labels: np.ndarray

    @property
    def classes(self) -> np.ndarray:
        """The reference's answer for each picture."""
        return run(self.graph, self.images).reshape(len(self.images), -1).argmax(1)


def small_graph(change: int = 0) -> Graph:
    """A convolution and a classifier; ``change`` is added to one weight of the convolution."""
    rng = np.random.default_rng(SEED)
    weights = rng.integers(-100, 100, (4, 3, 3, 2), np.int8)
    weights[2, 1, 1, 0] += change
    return Graph(
        name="small",
        tensors={
            "picture": Tensor("picture", (6, 5, 2), 1 / 64, 3),
            "map": Tensor("map", (6, 5, 4), 1 / 8, -10),
            "logits": Tensor("logits", (1, 1, 3), 1 / 4, 0),
        },
        nodes=(
            Conv2D(
                name="edges",
                input="picture",
                output="map",
                weights=weights,
                bias=rng.integers(-500, 500, 4, np.int32),
                weight_scales=np.full(4, 1 / 128, np.float32),
                padding=(1, 1, 1, 1),
            ),
            FullyConnected(
                name="classes",
                input="map",
                output="logits",
                weights=rng.integers(-100, 100, (3, 120), np.int8),
                bias=rng.integers(-500, 500, 3, np.int32),
                weight_scales=np.full(3, 1 / 512, np.float32),
            ),
        ),
        input="picture",
        output="logits",
    )


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    folder = tmp_path_factory.mktemp("files")
    graph = small_graph()
    images = np.random.default_rng(SEED + 1).integers(-128, 128, (40, 6, 5, 2), np.int8)
    labels = np.arange(40) % 3
    graph.save(folder / "small.qgraph")
    compile_graph(graph, SMALL_VISION).save(folder / "small.eyas")
    np.savez(folder / "pictures.npz", images=images, labels=labels)
    return Files(
        folder=folder,
        graph=graph,
        model=folder / "small.qgraph",
        program=folder / "small.eyas",
        pictures=folder / "pictures.npz",
        images=images,
        labels=labels,
    )


@dataclass(frozen=True)
class Answer:
    """How a command ended."""

    code: int
    out: str
    err: str


@pytest.fixture
def eyas(capsys: pytest.CaptureFixture[str]):
    """Return a function that runs the command in this process."""

    def call(*arguments: object) -> Answer:
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            main([str(item) for item in arguments])
        captured = capsys.readouterr()
        return Answer(int(end.value.code or 0), captured.out, captured.err)

    return call
