"""The pictures that ``eyas thc train`` learns, and where they are looked for."""

from __future__ import annotations

from eyas.data_files import fashion_mnist
from models.vision.networks import DigitsNet, FashionNet, Pictures, VisionNet, digits

__all__ = ["DATASETS", "load", "network"]

DATASETS = ("fashion-mnist", "digits")


def network(dataset: str) -> VisionNet:
    """The network for ``dataset``, with weights from torch's random state."""
    return {"fashion-mnist": FashionNet, "digits": DigitsNet}[dataset]()


def load(dataset: str) -> Pictures:
    """Pictures to learn and to judge by; FileNotFoundError says how to get them."""
    if dataset == "digits":
        return digits()
    if dataset != "fashion-mnist":
        raise ValueError(f"A data set is one of {', '.join(DATASETS)}, not {dataset!r}")
    return Pictures(*fashion_mnist())
