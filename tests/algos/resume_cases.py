"""Agents that were saved, loaded and are driven side by side, and what sets two of them apart, whatever they hold."""

import io
import types
from collections import deque
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from bench import algos, seeding
from bench.config import RunConfig
from bench.frames import Frames
from bench.loop import is_boundary
from bench.replay import RolloutReplay

PLAIN = (str, int, float, bool, type(None), range, slice, np.dtype, torch.dtype, torch.device)
NAMED = (types.FunctionType, types.BuiltinFunctionType, type)


def through_file(state: Any) -> Any:
    """What a file would give back."""
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def restored(config: RunConfig, env: Any, state: dict[str, Any]) -> Any:
    """A freshly built agent with the state of another."""
    agent = algos.make(config, env)
    agent.load_state_dict(state)
    return agent


class Play:
    """A loop in which several agents see the steps that the first one's actions lead to."""

    def __init__(self, config: RunConfig, env: Any):
        self.env, self.obs = env, env.reset(seeding.env_seeds(config.seed, env.num_envs))
        self.start = np.ones(env.num_envs, dtype=bool)
        self.agents = [algos.make(config, env)]
        self.told: list[list[Any]] = [[]]  # of each agent: its actions and metrics
        self.learnt = 0  # rows of metrics

    def join(self, agent: Any) -> None:
        """Let another agent take part, which counts as having said what the first one has."""
        self.agents.append(agent)
        self.told.append(list(self.told[0]))

    def go(self, steps: int) -> None:
        """Some steps of all environments. An agent that raises drops out."""
        for _ in range(steps):
            actions = [_tried(agent.act, self.obs, self.start) for agent in self.agents]
            step = self.env.step(actions[0])
            metrics = [_tried(agent.observe, self.obs, actions[0], self.start, step) for agent in self.agents]
            for told, action, row in zip(self.told, actions, metrics, strict=True):
                told.append((_said(action), _said(row)))
            self.learnt += bool(metrics[0])
            self.obs, self.start = step.obs, is_boundary(step)

    def finish(self) -> list[list[Any]]:
        """All that each agent has said, its last metrics and its parameters at the end."""
        return [
            [*told, _said(_tried(agent.finish)), agent.parameters_sha256()]
            for told, agent in zip(self.told, self.agents, strict=True)
        ]


def _tried(function: Any, *arguments: Any) -> Any:
    try:
        return function(*arguments)
    except (AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError) as error:
        return error


def _said(answer: Any) -> Any:
    """Comparable bit for bit, of numbers that are none too."""
    return answer.tobytes() if isinstance(answer, np.ndarray) else repr(answer)


def differences(a: Any, b: Any, path: str = "", seen: dict[tuple[int, int], Any] | None = None) -> list[str]:
    """Paths at which two objects differ, through all their attributes; gradients and unused memory aside.

    Raises:
        TypeError: an object that cannot be looked into, so that nothing is taken to be equal unseen.
    """
    seen = {} if seen is None else seen
    if a is b or (id(a), id(b)) in seen:
        return []
    seen[id(a), id(b)] = a, b  # held, so that no other object comes to have these ids
    if isinstance(a, np.ndarray | np.generic) and isinstance(b, np.ndarray | np.generic):
        return [] if _bits(np.asarray(a)) == _bits(np.asarray(b)) else [path]
    if type(a) is not type(b):
        return [path]
    if isinstance(a, set | frozenset):
        return [] if a == b else [path]
    if isinstance(a, PLAIN):
        return [] if repr(a) == repr(b) else [path]
    if isinstance(a, NAMED):
        return [path]
    if isinstance(a, torch.Tensor):
        same = (a.device, a.dtype) == (b.device, b.dtype) and _bits(_numbers(a)) == _bits(_numbers(b))
        return [] if same else [path]
    if isinstance(a, list | tuple | deque):
        if len(a) != len(b):
            return [path]
        return [
            found
            for i, (x, y) in enumerate(zip(a, b, strict=True))
            for found in differences(x, y, f"{path}[{i}]", seen)
        ]
    parts, others = _parts(a), _parts(b)
    if parts.keys() != others.keys():
        return [f"{path}.{name}" for name in sorted(map(str, parts.keys() ^ others.keys()))]
    return [found for name in parts for found in differences(parts[name], others[name], f"{path}.{name}", seen)]


def _numbers(x: torch.Tensor) -> np.ndarray:
    x = x.detach().cpu()
    return x.float().numpy() if x.dtype == torch.bfloat16 else x.numpy()  # NumPy has no bfloat16


def _bits(x: np.ndarray) -> tuple[Any, ...]:
    return x.shape, x.dtype, x.tobytes()


def _parts(x: Any) -> Mapping[Any, Any]:
    if isinstance(x, Mapping):
        return x
    if isinstance(x, torch.Generator):
        return {"state": x.get_state()}
    if isinstance(x, torch.optim.Optimizer):
        return {"defaults": x.defaults, **x.state_dict()}
    if isinstance(x, RolloutReplay):
        return {**vars(x), "fields": {name: field[: x.size] for name, field in x.fields.items()}}
    if isinstance(x, Frames):
        return x.state_dict()  # the pool has room for more
    if hasattr(x, "step") and hasattr(x, "reset"):  # environments: simulators cannot be looked into
        return {"state": x.state_dict()}
    if not hasattr(x, "__dict__"):
        raise TypeError(f"nobody knows what a {type(x).__name__} holds")
    return vars(x)
