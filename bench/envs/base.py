"""What every environment looks like to the loop: a batch of B sub-environments stepped together."""

import hashlib
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor


class Step(NamedTuple):
    """One step of all B sub-environments. Arrays have B as first axis.

    A sub-environment resets itself when it ends (`obs` is then the first observation of what follows, and
    `final_obs` the true last one), so every step is a real transition. Episodes as the learner sees them
    (`terminated`, `truncated`) and full games as scores count them (`game_over`) differ on Atari, where the
    loss of a life ends the first and not the second.
    """

    obs: np.ndarray  # [B, *obs_shape] what the agent acts on next
    reward: np.ndarray  # [B] float32, what the learner is given (clipped if the protocol says so)
    terminated: np.ndarray  # [B] bool, the future is worth nothing: discount 0
    truncated: np.ndarray  # [B] bool, cut by a limit: bootstrap from final_obs; never together with terminated
    final_obs: np.ndarray  # [B, *obs_shape] the transition's own next observation, before any reset
    acted: np.ndarray  # [B] bool, False where the protocol forced the action (e.g. FIRE after a reset)
    raw_reward: np.ndarray  # [B] float64, unclipped
    game_over: np.ndarray  # [B] bool, a full game ended here: its score is recorded
    game_cut: np.ndarray  # [B] bool, that game was ended by a limit, not by its own rules
    lives: np.ndarray | None = None  # [B] int, lives left in the game that the step belongs to; None: no such thing


class VecEnv(Protocol):
    """A batch of environments. Construction does not start them; `reset` seeds and starts all of them."""

    num_envs: int
    obs_shape: tuple[int, ...]
    obs_dtype: np.dtype
    num_actions: int  # A of them, or the dimension d of one where action_range is given
    action_range: tuple[np.ndarray, np.ndarray] | None  # lowest and highest action, each [d] float32; None: discrete

    def reset(self, seeds: np.ndarray) -> np.ndarray:
        """Start all sub-environments. Args: seeds: `[B]` int64 in [0, 2**31). Returns `[B, *obs_shape]`."""

    def step(self, actions: np.ndarray) -> Step:
        """Take one action per sub-environment. Args: actions: `[B]` int64, or `[B, d]` float32 within action_range."""

    def state_dict(self) -> dict[str, Any]:
        """Plain state, after a `reset`, from which environments of the same configuration go on, bit for bit."""

    def load_state_dict(self, state: dict[str, Any]) -> np.ndarray:
        """Go on from such a state. Needs no `reset` before.

        Returns:
            `[B, *obs_shape]`, what the agent acts on next.
        Raises:
            ValueError: the state is of another configuration, or does not lead back to the observations it was
                saved with.
        """

    def close(self) -> None:
        """Release the sub-environments."""


def check_actions(actions: np.ndarray, num_envs: int, num_actions: int) -> np.ndarray:
    """Refuse actions that are not `[B]` integers in [0, num_actions).

    Args:
        actions: to look at.
        num_envs, num_actions: B and A.
    Raises:
        ValueError: saying what was found and what is allowed.
    """
    actions = np.asarray(actions)
    allowed = f"actions must be {num_envs} integers in [0, {num_actions})"
    if actions.shape != (num_envs,) or actions.dtype.kind not in "iu":
        raise ValueError(f"{allowed}, got {actions.dtype} {list(actions.shape)}")
    if actions.min() < 0 or actions.max() >= num_actions:
        raise ValueError(f"{allowed}, got {actions.min()} to {actions.max()}")
    return actions


def to_tensor(array: np.ndarray) -> "Tensor":
    """A copy, as states hold arrays."""
    import torch  # here, because plans name tasks without it

    return torch.from_numpy(array.copy())


def fingerprint(obs: np.ndarray) -> str:
    """Of observations, by which a restored environment is recognised."""
    return hashlib.sha256(obs.tobytes()).hexdigest()


def require_own(state: dict[str, Any], of: dict[str, Any]) -> None:
    """Refuse a state of environments other than these. Args: of: what identifies these, as in `state["of"]`."""
    if state["of"] != of:
        raise ValueError(
            f"the state is of environments with {_less(state['of'], of)}, these have {_less(of, state['of'])}"
        )


def _less(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """What the one has and the other has not."""
    return {name: value for name, value in one.items() if name not in other or other[name] != value}


def require_same(obs: np.ndarray, state: dict[str, Any]) -> None:
    """Refuse observations other than those that the state was saved with, as `state["obs"]`."""
    if fingerprint(obs) != state["obs"]:
        raise ValueError("the environments did not come back to the observations that their state was saved with")
