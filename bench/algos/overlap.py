"""Training beside acting: a policy that stays as it was published acts while the network is trained in a second thread.

Nothing depends on which side is faster. Each has its own network, generators and count of steps; they meet only where
the number of steps says so, and there the faster one waits.
"""

import copy
import threading
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from bench.envs.base import VecEnv
from bench.errors import DivergedError
from bench.frames import Frames
from bench.keeping import Kept
from bench.nets import ActorCritic

Metrics = dict[str, float]


class Beside(Kept):
    """The policy that acts, and the training that goes on meanwhile, of which there is at most one.

    Args:
        net: is trained; a copy of it acts.
        threads: of PyTorch, on either side: a thread that is started does not inherit the number.
    """

    KEPT = ("net", "published", "metrics")

    def __init__(self, net: ActorCritic, threads: int):
        self.net, self.threads = copy.deepcopy(net), threads
        self.published = 0  # updates that the acting policy has seen
        self.metrics: Metrics = {}  # of a training that is complete and was not yet asked for
        self.thread: threading.Thread | None = None
        self.error: Exception | None = None
        self.stopped = False
        device = next(net.parameters()).device
        # A stream of its own: in the acting side's, an action would wait for all updates that were queued before it.
        self.stream: torch.cuda.Stream | None = None
        if device.type == "cuda":
            self.stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    @torch.no_grad()
    def publish(self, net: ActorCritic, updates: int) -> None:
        """Act with these parameters from now on, which have seen so many updates."""
        torch._foreach_copy_(list(self.net.parameters()), list(net.parameters()))
        self.published = updates

    def start(self, train: Callable[[], Metrics]) -> None:
        """Begin to train; what was trained before must have been asked for."""
        assert self.thread is None
        assert not self.metrics
        if self.stream:
            self.stream.wait_stream(torch.cuda.current_stream())
        self.thread = threading.Thread(target=self._work, args=(train,), name="training")
        self.thread.start()

    def _work(self, train: Callable[[], Metrics]) -> None:
        torch.set_num_threads(self.threads)
        try:
            with torch.cuda.stream(self.stream):  # None: no matter
                self.metrics = train()
            if self.stream:
                self.stream.synchronize()
        except Exception as error:  # raised where the result is asked for
            self.error = error

    def wait(self) -> None:
        """Until the training is complete; its metrics stay. Raises: what the training raised."""
        if self.thread is None:
            return
        self.thread.join()
        self.thread, error, self.error = None, self.error, None
        if isinstance(error, FloatingPointError):
            raise DivergedError(str(error)) from None
        if error is not None:
            raise error

    def result(self) -> Metrics:
        """The metrics of the training, which is waited for; nothing if there was none. They are told once."""
        self.wait()
        metrics, self.metrics = self.metrics, {}
        return metrics

    def close(self) -> None:
        """End a training that nobody will ask for: after the update that it is at."""
        self.stopped = True
        if self.thread:
            self.thread.join()
            self.thread = None


class SharedFrames(Frames):
    """Frames that one thread stores while another takes."""

    def __init__(self, num_envs: int, shape: tuple[int, ...], window: int, device: torch.device | str = "cpu"):
        super().__init__(num_envs, shape, window, device)
        self.lock = threading.Lock()

    def push(self, obs: np.ndarray, *, between: bool = False) -> Tensor:
        """See `Frames`."""
        with self.lock:
            pool = self.pool
            ids = super().push(obs, between=between)
            if self.pool is not pool and pool.is_cuda:
                torch.cuda.synchronize(pool.device)  # the other side may still read the old one, or the new too soon
            return ids

    def take(self, ids: Tensor) -> Tensor:
        """See `Frames`."""
        with self.lock:
            return super().take(ids)


def frames_of(env: VecEnv, held: int, beside: int, device: torch.device) -> Frames | None:
    """Where the frames of these environments are kept; None of vectors.

    Args:
        held: observations of each environment that are trained on.
        beside: those that come meanwhile; above 0 two threads share the frames.
    """
    if len(env.obs_shape) != 3:
        return None
    kind = SharedFrames if beside else Frames
    return kind(env.num_envs, env.obs_shape, held + beside, device)
