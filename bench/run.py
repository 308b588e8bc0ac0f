"""One run, from its configuration to its directory."""

import contextlib
import sys
import time
from pathlib import Path
from typing import Any

import torch

from bench import checkpoint, loggers, manifest, session
from bench.config import RunConfig
from bench.errors import UserError
from bench.identity import run_directory
from bench.record import RunRecord
from bench.session import Progress, Session
from bench.stop import Stop, listening
from bench.worker import require_parent

SHARE = 0.05  # of the time of a run, at most, that goes into checkpoints


def require_device(device: str) -> None:
    """Refuse a device that this machine does not have."""
    if device == "cuda" and not torch.cuda.is_available():
        raise UserError("device is 'cuda', and PyTorch sees no CUDA device here; allowed: cpu")


def run(config: RunConfig, container: dict[str, Any]) -> tuple[Path, bool]:
    """Make the run, or what is left of it. Returns its directory, and whether it was done already.

    Args:
        config: typed, checked.
        container: the same, resolved, as plain data.
    """
    require_device(config.device)
    if config.seeds_per_process > 1:
        from bench.fused import run_block  # which follows its runs with what stands here

        return run_block(config, container)
    path = run_directory(container)
    record = RunRecord(path, container)
    if record.found_finished():
        with contextlib.suppress(OSError):  # a store that may only be read
            checkpoint.clear(path)  # a kill between the end and this would leave gigabytes
        return path, True
    with record:
        if record.finished:  # by another process, meanwhile
            return path, True
        made, kept = _take_up(config, record)
        with listening() as stop, loggers.mirror(config.logger, path, container, kept.get("mirror")) as mirror:
            Following(config, record, made, mirror, stop).follow(kept)
    return path, False


def _take_up(config: RunConfig, record: RunRecord) -> tuple[Session, dict[str, Any]]:
    """The session where its newest whole checkpoint left it, and what was kept beside it; else a new one, and nothing.

    A checkpoint that does not lead back to where it was taken (on a processor that computes otherwise, say) is passed
    over: beginning anew costs time, going on from elsewhere would cost the result.
    """
    origin = manifest.collect(config)
    for path, state in checkpoint.whole(record.path):
        made = session.make(config)
        try:
            record.restoring(state["step"])
            made.load_state_dict(state["session"])
            record.begin(origin, state["step"], state["sizes"])
        except (ValueError, KeyError, RuntimeError, ArithmeticError) as error:
            made.close()
            checkpoint.pass_over(path, error)
            continue
        print(f"{record.path.name}: goes on from step {state['step']:,}", file=sys.stderr)
        return made, state
    made = session.make(config)
    record.begin(origin)
    return made, {}


class Following:
    """A session on its way to the end, and all that is told of it."""

    def __init__(self, config: RunConfig, record: RunRecord, made: Session, mirror: loggers.Mirror, stop: Stop):
        self.config, self.record, self.session, self.mirror, self.stop = config, record, made, mirror, stop
        self.period = 60 * config.checkpoint_minutes
        self.began = self.saved = time.monotonic()

    def follow(self, kept: dict[str, Any]) -> None:
        """To the end, or to where a signal asks for one. Raises: KeyboardInterrupt: it was; all is saved."""
        self.take_up(kept)
        count = kept.get("step", 0)  # saved after its last step, it has none left
        with loggers.Display(self.record.path.name.rsplit("-", 1)[0], self.config.steps) as display:
            for progress in self.session:
                count = progress.done
                self.tell(progress)
                display.show(count, progress.episodes)
                self._keep(count)
        self.end(count)

    def take_up(self, kept: dict[str, Any]) -> None:
        """Go on counting the time from what was kept."""
        self.began -= kept.get("wall_s", 0.0)

    def tell(self, progress: Progress) -> None:
        """Record what a step has brought."""
        record, mirror = self.record, self.mirror
        for episode in progress.episodes:
            record.episode(episode)
            mirror.episode(episode)
        if progress.row:
            row = {**progress.row, "wall_s": self.wall()}
            record.metrics(row)
            mirror.metrics(row)
        record.status(state="running", step=progress.done, steps=self.config.steps, wall_s=self.wall())

    def end(self, count: int) -> None:
        """Record the result. Args: count: steps made."""
        self.session.close()
        if not self.session.learnt:
            print(f"note: {count:,} steps are too few for a single update", file=sys.stderr)
        wall = self.wall()
        if (result := self.session.result()) is not None:
            self.record.result({"agent": result, "step": count})
        sha256 = self.session.params_sha256()
        self.record.finish(step=count, steps=self.config.steps, wall_s=wall, rate=count / wall, params_sha256=sha256)

    def wall(self) -> float:
        """Seconds that the run has taken, all attempts together, without what was lost with them."""
        return time.monotonic() - self.began

    def _keep(self, count: int) -> None:
        """Save when it is time, or when the end is near."""
        try:
            require_parent()
        except SystemExit:
            self.save(count)
            raise
        if self.stop.wish:
            self.save(count)
            raise KeyboardInterrupt(f"{self.stop.wish} at step {count:,}")
        if self.due():
            self.save(count)

    def due(self) -> bool:
        """True when it is time for a checkpoint."""
        return time.monotonic() - self.saved >= self.period

    def save(self, count: int) -> None:
        """Save what the run can go on from."""
        began = time.monotonic()
        state = self.session.state_dict()
        if state is not None:
            sizes = self.record.sizes()
            kept = {"wall_s": self.wall(), "mirror": self.mirror.position(), "sizes": sizes, "step": count}
            self.record.resumable(count, {"session": state, **kept})
        self.saved = time.monotonic()
        self.period = max(60 * self.config.checkpoint_minutes, (self.saved - began) / SHARE)
