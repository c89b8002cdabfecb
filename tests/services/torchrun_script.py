"""What the torchrun test runs on each rank: plain PyTorch with the hook, no help from the tests."""

import hashlib

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from eyas.services.aggregation.client import ServiceAggregator
from eyas.services.hook.thc_hook import ThcState, thc_hook


def main() -> None:
    """Train three steps; print a digest of the weights."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    torch.manual_seed(1)
    ddp = DistributedDataParallel(nn.Linear(40, 30))
    state = ThcState(ddp, ServiceAggregator("simulated"))
    ddp.register_comm_hook(state, thc_hook)
    optimizer = torch.optim.SGD(ddp.parameters(), 0.1)
    for _ in range(3):
        optimizer.zero_grad()
        ddp(torch.randn(4, 40) + dist.get_rank()).square().mean().backward()
        optimizer.step()
    state.close()
    weights = b"".join(parameter.detach().numpy().tobytes() for parameter in ddp.parameters())
    print(f"weights {hashlib.sha256(weights).hexdigest()} step {state.step}", flush=True)
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
