"""The runs of several seeds in one program (`seeds_per_process`): each with its own directory, all in lockstep.

Seed s belongs to the block of seeds that begins at s // n * n, and each of them makes the whole block. A run of a block
is recorded, saved and judged like one that was made alone. All go on from the newest step of which each has a whole
checkpoint. A run that fails, by learning that diverges say, is recorded as failed, and the others go on without it.
The runs of a block are not mirrored in W&B.
"""

import contextlib
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bench import checkpoint, loggers, manifest, seeding, session
from bench.algos.dpo import Dpo
from bench.algos.fused_dpo import Block
from bench.blocks import seeds_of_block
from bench.config import RunConfig
from bench.envs.base import Step
from bench.episodes import Episode
from bench.errors import RunError
from bench.identity import run_directory
from bench.loop import Position
from bench.record import RunRecord, read_status
from bench.run import SHARE, Following
from bench.session import Training
from bench.stop import Stop, listening
from bench.worker import require_parent


def run_block(config: RunConfig, container: dict[str, Any]) -> tuple[Path, bool]:
    """Make the runs of the seed's block, or what is left of them; the others are not touched.

    Args and returns as `bench.run.run`, of the run with the seed that was asked for.

    Raises:
        RunError: some of the runs failed; those that did not are done.
    """
    asked, seeds = run_directory(container), seeds_of_block(config.seed, config.seeds_per_process)
    seats = [_Seat(replace(config, seed=seed), {**container, "seed": seed}) for seed in seeds]
    seats = _to_make([seat for seat in seats if not seat.record.found_finished()])
    if not seats:
        return asked, True
    if len(seats) > 1:
        print(
            f"{len(seats)} runs in one process, seeds {seats[0].config.seed} to {seats[-1].config.seed}",
            file=sys.stderr,
        )
    if config.logger.name != "none":
        print("runs of seeds_per_process above 1 are not mirrored; their directories hold everything", file=sys.stderr)
    with contextlib.ExitStack() as exits:
        for seat in seats:
            exits.push(seat.__exit__)
            seat.enter()
        seats = [seat for seat in seats if not seat.record.finished]  # by another process, meanwhile
        with listening() as stop:
            if not seats:
                return asked, True
            _Together(seats, stop).follow()
    if read_status(asked).get("state") == "failed":
        raise RunError(f"{asked.name} failed before the others of its block, which are done; it can be made again")
    return asked, False


def _to_make(seats: list["_Seat"]) -> list["_Seat"]:
    """Of the unfinished runs those to make now: one that failed waits until the others, which are further, are done."""
    failed = [seat for seat in seats if read_status(seat.record.path).get("state") == "failed"]
    going = [seat for seat in seats if seat not in failed]
    return going if any(checkpoint.found(seat.record.path) for seat in going) else seats


class _Ahead:
    """Environments whose next step was made before the session asks for it."""

    def __init__(self, env: Any):
        self._env = env
        self.made: Step | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._env, name)

    def step(self, actions: np.ndarray) -> Step | None:
        """What was made."""
        return self.made


class _Learner:
    """An agent as its session sees it: what it does is done by the block before the session asks for it."""

    def __init__(self, agent: Dpo):
        self.agent = agent
        self.action = np.empty(0)
        self.metrics: dict[str, float] = {}
        self.mode, self.load_state_dict = agent.mode, agent.load_state_dict
        self.finish, self.parameters_sha256 = agent.finish, agent.parameters_sha256

    def act(self, obs: np.ndarray, start: np.ndarray) -> np.ndarray:
        """What was chosen."""
        return self.action

    def observe(self, obs: np.ndarray, action: np.ndarray, start: np.ndarray, step: Step) -> dict[str, float]:
        """What was learnt."""
        return self.metrics

    def state_dict(self) -> dict[str, Any]:
        """The agent's, which shares no memory with other agents'."""
        return dict(_apart(self.agent.state_dict()))

    def learnt(self) -> dict[str, Any]:
        """The same without `memory`."""
        return dict(_apart(self.agent.learnt()))


def _apart(state: Any) -> Any:
    """A state whose tensors are no parts of larger ones, with which they would be saved."""
    if isinstance(state, torch.Tensor):
        return state.clone() if state.untyped_storage().nbytes() > state.nbytes else state
    if isinstance(state, dict):
        return {name: _apart(part) for name, part in state.items()}
    return [_apart(part) for part in state] if isinstance(state, list) else state


class _Seat:
    """One run of a block."""

    def __init__(self, config: RunConfig, container: dict[str, Any]):
        self.config, self.record = config, RunRecord(run_directory(container), container)
        self.made: Training | None = None
        self._exits = contextlib.ExitStack()

    def enter(self) -> None:
        """Take the run directory."""
        self._exits.enter_context(self.record)

    def __exit__(self, *error: Any) -> None:
        self._exits.__exit__(*error)  # a second time it does nothing

    def fail(self, error: Exception) -> None:
        """Record how the run ended, alone."""
        said = error if isinstance(error, RunError) else RunError(str(error))
        print(f"{self.record.path.name}: {said}", file=sys.stderr)
        self.drop()
        self.__exit__(type(said), said, None)

    def drop(self) -> None:
        """Release the environments of its session, if it has one."""
        if self.made:
            with contextlib.suppress(Exception):  # what is wrong with them was said
                self.made.close()
            self.made = None

    def make(self) -> None:
        """A new session."""
        made = session.make(self.config)
        assert isinstance(made, Training)
        assert isinstance(made.agent, Dpo)
        self.made, self.agent = made, made.agent

    def sit(self, kept: dict[str, Any], stop: Stop) -> None:
        """Begin to follow the session. Args: kept: beside its state; nothing at the beginning."""
        made = self.made
        assert made
        env = made.env
        if made.position is None:
            obs = env.reset(seeding.env_seeds(self.config.seed, env.num_envs))
            made.position = Position(0, obs, np.ones(env.num_envs, dtype=bool))
        self.env, self.ahead, self.learner = env, _Ahead(env), _Learner(self.agent)
        made.agent, made.env = self.learner, self.ahead  # type: ignore[assignment]
        self.following = Following(self.config, self.record, made, loggers.NoMirror(), stop)
        self.following.take_up(kept)
        self.steps: Iterator[session.Progress] = iter(made)

    @property
    def obs(self) -> np.ndarray:
        """What is acted on next."""
        assert self.made
        assert self.made.position is not None
        return self.made.position.obs


class _Together:
    """The runs of a block on their way to the end."""

    def __init__(self, seats: list[_Seat], stop: Stop):
        self.seats, self.stop = seats, stop
        self.failed: list[str] = []
        kept = self._taken_up() or self._begun()
        for seat, state in zip(seats, kept, strict=True):
            seat.sit(state, stop)
        config = seats[0].config
        self.each, self.precision = config.env.num_envs, config.precision
        self.done, self.last = kept[0].get("step", 0), config.steps // self.each * self.each
        self.block = Block([seat.agent for seat in seats], self.precision)

    def _begun(self) -> list[dict[str, Any]]:
        for seat in self.seats:
            seat.make()
            seat.record.begin(manifest.collect(seat.config))
        return [{} for _ in self.seats]

    def _taken_up(self) -> list[dict[str, Any]] | None:
        """Sessions from the newest step that all have kept, and what was kept beside; None where there is none."""
        found = [{state["step"]: (path, state) for path, state in checkpoint.whole(s.record.path)} for s in self.seats]
        for step in sorted(set.intersection(*map(set, found)), reverse=True):
            of_step = [states[step] for states in found]
            try:
                for seat, (path, state) in zip(self.seats, of_step, strict=True):  # noqa: B007, told if it fails
                    seat.make()
                    seat.record.restoring(step)
                    seat.made.load_state_dict(state["session"])  # type: ignore[union-attr]
                for seat, (path, state) in zip(self.seats, of_step, strict=True):  # noqa: B007
                    seat.record.begin(manifest.collect(seat.config), step, state["sizes"])
            except (ValueError, KeyError, RuntimeError, ArithmeticError) as error:
                for seat in self.seats:
                    seat.drop()
                checkpoint.pass_over(path, error)
                continue
            print(f"{len(self.seats)} runs go on from step {step:,}", file=sys.stderr)
            return [state for _, state in of_step]
        return None

    def follow(self) -> None:
        """To the end, or to where a signal asks for one. Raises: KeyboardInterrupt: it was; all is saved."""
        config = self.seats[0].config
        with loggers.Display(f"{config.algo.name}, {config.seeds_per_process} seeds", config.steps) as display:
            for done in range(self.done + self.each, self.last + 1, self.each):
                self.done = done
                self._act()
                self._learn()
                episodes = self._tell()
                if not self.seats:
                    break
                display.show(self.done, episodes)
                self._keep()
        self._save()  # whoever is killed between the ends of two runs goes on from here
        for seat in self.seats:
            seat.following.end(self.done)
            seat.__exit__(None, None, None)
        if self.failed:
            raise RunError(f"of the runs of this process failed {', '.join(self.failed)}; the others went on")

    def _act(self) -> None:
        """Choose actions and take a step in every run."""
        found = list(zip(self.seats, self.block.act([seat.obs for seat in self.seats]), strict=True))
        for seat, action in found:
            try:
                if isinstance(action, Exception):
                    raise action
                seat.learner.action = action
                seat.ahead.made = seat.env.step(action)
            except (RunError, FloatingPointError) as error:
                self._fail(seat, error)
        self._regroup()

    def _learn(self) -> None:
        steps = [seat.ahead.made for seat in self.seats if seat.ahead.made is not None]
        if not steps:
            return
        for seat, told in list(zip(self.seats, self.block.observe(steps), strict=True)):
            if isinstance(told, Exception):
                self._fail(seat, told)
            else:
                seat.learner.metrics = told
        self._regroup()

    def _tell(self) -> list[Episode]:
        """Let the sessions take in the step. Returns the games that ended with it."""
        episodes = []
        for seat in list(self.seats):
            try:
                progress = next(seat.steps)
            except (RunError, FloatingPointError) as error:  # of an evaluation
                self._fail(seat, error)
                continue
            seat.following.tell(progress)
            episodes += progress.episodes
        self._regroup()
        return episodes

    def _fail(self, seat: _Seat, error: Exception) -> None:
        self.failed.append(seat.record.path.name)
        seat.fail(error)

    def _regroup(self) -> None:
        """Go on without the runs that failed."""
        left = [seat for seat in self.seats if seat.record.path.name not in self.failed]
        if len(left) < len(self.seats):
            self.block.give()
            self.seats = left
            if left:
                self.block = Block([seat.agent for seat in left], self.precision)

    def _keep(self) -> None:
        """Save when it is time, or when the end is near."""
        try:
            require_parent()
        except SystemExit:
            self._save()
            raise
        if self.stop.wish:
            self._save()
            raise KeyboardInterrupt(f"{self.stop.wish} at step {self.done:,}")
        if any(seat.following.due() for seat in self.seats):
            self._save()

    def _save(self) -> None:
        self.block.give()
        began = time.monotonic()
        for seat in self.seats:
            seat.following.save(self.done)
        spent = time.monotonic() - began
        for seat in self.seats:  # they wait for each other
            seat.following.saved = began + spent
            seat.following.period = max(seat.following.period, spent / SHARE)
