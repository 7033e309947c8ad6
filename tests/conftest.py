"""Common settings: one thread for torch, so that tests give the same results everywhere."""

import torch

torch.set_num_threads(1)
