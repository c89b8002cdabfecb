"""One torch thread: on a busy machine two wait for each other longer than they work."""

import torch

torch.set_num_threads(1)
