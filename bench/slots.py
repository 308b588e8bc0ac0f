"""Where runs go at once: cores for those on the CPU, GPUs for the others."""

import os
from collections.abc import Sequence
from typing import NamedTuple

from bench.check_config import ExecutorConfig
from bench.errors import UserError


class Place(NamedTuple):
    """What a run holds while it goes."""

    share: int  # of the CPU slots
    gpu: str | None  # as CUDA_VISIBLE_DEVICES names it


class Slots:
    """CPU slots and GPU slots, taken and given back.

    Args:
        cpu: shares that runs on the CPU have together.
        per_thread: a run takes a share for each of its threads, else one.
        gpus: as CUDA_VISIBLE_DEVICES names them; runs on them take no share of the CPU.
        runs_per_gpu: at once on each.
    """

    def __init__(self, cpu: int, per_thread: bool, gpus: Sequence[str] = (), runs_per_gpu: int = 1):
        self.cpu, self.free, self.per_thread, self.runs_per_gpu = cpu, cpu, per_thread, runs_per_gpu
        self.on_gpu = dict.fromkeys(gpus, 0)

    def take(self, device: str, threads: int) -> Place | None:
        """A place for a run, on the GPU with the fewest runs; None while there is none."""
        if device == "cuda":
            gpu = min(self.on_gpu, key=lambda name: self.on_gpu[name])
            if self.on_gpu[gpu] == self.runs_per_gpu:
                return None
            self.on_gpu[gpu] += 1
            return Place(0, gpu)
        share = min(threads, self.cpu) if self.per_thread else 1
        if share > self.free:
            return None
        self.free -= share
        return Place(share, None)

    def give(self, place: Place) -> None:
        """Give a place back."""
        self.free += place.share
        if place.gpu is not None:
            self.on_gpu[place.gpu] -= 1


def slots(config: ExecutorConfig, devices: set[str]) -> Slots:
    """The slots of this machine for runs on these devices. Errors: `UserError` where cuda is asked for in vain."""
    gpus = _gpus() if "cuda" in devices else []
    return Slots(config.slots or cores(), config.slots is None, gpus, config.runs_per_gpu)


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _gpus() -> list[str]:
    import torch  # here, because only runs on a GPU need to know

    if not (count := torch.cuda.device_count()):
        raise UserError("device is 'cuda', and PyTorch sees no CUDA device here; allowed: cpu")
    return gpu_names(count, os.environ.get("CUDA_VISIBLE_DEVICES"))


def gpu_names(count: int, visible: str | None) -> list[str]:
    """What to put into CUDA_VISIBLE_DEVICES for each GPU.

    Args:
        count: GPUs that PyTorch sees.
        visible: CUDA_VISIBLE_DEVICES as it is now, numbers or names; CUDA takes those before the first wrong one.
    """
    return [str(i) for i in range(count)] if visible is None else [name.strip() for name in visible.split(",")][:count]
