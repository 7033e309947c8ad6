"""What tests share: one core for torch, so that they run the same everywhere."""

import torch

torch.set_num_threads(1)
