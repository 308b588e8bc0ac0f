"""One thread per test process: results are then repeatable, and tests side by side do not slow each other."""

import torch

torch.set_num_threads(1)
