"""Gradients of a small network on real pictures, for jobs that share a switch."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["digit_gradients"]

SHARE = 16
"""Pictures that each worker's gradient is of."""
RATE = 0.05


def digit_gradients(seed: int, workers: int, rounds: int) -> list[list[Tensor]]:
    """For each round each worker's gradient on pictures of its own; plain SGD in between."""
    import torch
    from torch.nn import functional

    from models.vision.networks import DigitsNet, digits

    data = digits()
    torch.manual_seed(seed)
    network = DigitsNet()
    parameters = list(network.parameters())
    choice = torch.Generator().manual_seed(seed)
    found: list[list[Tensor]] = []
    for _ in range(rounds):
        found.append([])
        for _ in range(workers):
            part = torch.randint(len(data.train_labels), (SHARE,), generator=choice).numpy()
            labels = torch.from_numpy(data.train_labels[part].astype("int64"))
            output = network(network.real(data.train_images[part]))
            gradients = torch.autograd.grad(functional.cross_entropy(output, labels), parameters)
            found[-1].append(torch.cat([gradient.flatten() for gradient in gradients]))
        mean = torch.stack(found[-1]).mean(dim=0)
        with torch.no_grad():
            parts = mean.split([parameter.numel() for parameter in parameters])
            for parameter, part in zip(parameters, parts, strict=True):
                parameter.sub_(RATE * part.view_as(parameter))
    return found
