"""The model's parameters as the hook knows them: names without wrappers' additions, and shapes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch.distributed as dist
from torch import Size, Tensor, nn
from torch.nn.parallel import DistributedDataParallel

__all__ = [
    "Parameters",
    "check_gradients",
    "group_of",
    "plain_name",
    "refuse_sparse",
    "unwrapped",
]

_WRAPPERS = frozenset({"_orig_mod", "_checkpoint_wrapped_module"})
"""Names that ``torch.compile`` and activation checkpointing put between a module and its child."""


def plain_name(name: str) -> str:
    """A parameter's name without what ``torch.compile`` and the like add to it."""
    return ".".join(part for part in name.split(".") if part not in _WRAPPERS)


def unwrapped(module: nn.Module) -> tuple[nn.Module, DistributedDataParallel | None]:
    """The model inside DistributedDataParallel and ``torch.compile``, and the former if any."""
    ddp = None
    while True:
        if isinstance(module, DistributedDataParallel):
            ddp, module = module, module.module
        elif isinstance(inner := module._modules.get("_orig_mod"), nn.Module):
            module = inner
        else:
            return module, ddp


def group_of(
    ddp: DistributedDataParallel | None, asked: dist.ProcessGroup | None
) -> dist.ProcessGroup | None:
    """The process group in which gradients are averaged: the DistributedDataParallel module's.

    ValueError when another one was ``asked`` for.
    """
    if ddp is None:
        return asked
    found: dist.ProcessGroup = ddp.process_group
    if asked is not None:
        ranks, others = map(dist.get_process_group_ranks, (found, asked))
        if ranks != others:
            raise ValueError(
                f"The module averages its gradients over ranks {_listed(ranks)}, process_group "
                f"has ranks {_listed(others)}: leave process_group out, it is the module's"
            )
    return found


class Parameters:
    """Names and shapes of a model's parameters.

    Attributes
    ----------
    shapes : dict of str to torch.Size
        By name, in the model's order.
    """

    def __init__(self, module: nn.Module) -> None:
        found = list(module.named_parameters())
        names = [plain_name(name) for name, _ in found]
        if len(set(names)) < len(names):  # the model itself has such names
            names = [name for name, _ in found]
        self._names = {parameter: name for name, (_, parameter) in zip(names, found, strict=True)}
        self.shapes: dict[str, Size] = {name: p.shape for p, name in self._names.items()}

    def name(self, parameter: Tensor) -> str:
        """A parameter's name; ValueError when it is not the model's."""
        try:
            return self._names[parameter]  # type: ignore[index]
        except KeyError:
            raise ValueError(
                f"A bucket holds a parameter of shape {tuple(parameter.shape)} that is not in the "
                f"model given to ThcState"
            ) from None


def refuse_sparse(module: nn.Module, ddp: DistributedDataParallel | None) -> None:
    """ValueError when a layer makes gradients that THC cannot take."""
    ignored: set[str] = getattr(ddp, "parameters_to_ignore", set())
    for name in _sparse_layers(module):
        if f"{name}.weight" not in ignored:
            raise ValueError(
                f"The layer {plain_name(name)} makes sparse gradients, which THC cannot add: make "
                f"it with sparse=False"
            )


def _sparse_layers(module: nn.Module) -> Iterator[str]:
    for name, layer in module.named_modules():
        if (
            isinstance(layer, nn.Embedding | nn.EmbeddingBag)
            and layer.sparse
            and layer.weight.requires_grad
        ):
            yield name


def check_gradients(buffer: Tensor, parameters: Iterable[Tensor]) -> None:
    """ValueError when a bucket's gradients are of a kind that THC cannot take."""
    if buffer.device.type != "cpu":
        raise ValueError(f"The THC hook takes gradients on the CPU, not on {buffer.device}")
    kinds = {str(parameter.dtype) for parameter in parameters if not parameter.is_floating_point()}
    if buffer.is_sparse:
        kinds.add("sparse")
    if kinds:
        raise ValueError(
            f"The THC hook takes dense gradients of real floats, not {', '.join(kinds)} ones: keep "
            f"such parameters out of this DistributedDataParallel module"
        )


def _listed(ranks: list[int]) -> str:
    return ", ".join(map(str, ranks))
