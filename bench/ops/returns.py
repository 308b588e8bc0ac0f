"""Value targets over a roll-out: V-trace, TD(lambda) returns, GAE, UAE. Time first, `[T, B]`, no gradient.

`discount[i]` is what the state after step i is worth to step i: gamma, or 0 where the episode ended there.
One backward recursion serves all of them; everything else is vectorised over time.
"""

import torch
from torch import Tensor


def require_shape(shape: tuple[int, ...], **tensors: Tensor) -> None:
    """Refuse the first tensor whose shape is not `shape`.

    Args:
        shape: what every tensor must have.
        tensors: by the name of the argument, which the error repeats.
    Raises:
        ValueError: naming the argument, its shape and the shape wanted.
    """
    for name, tensor in tensors.items():
        if tuple(tensor.shape) != tuple(shape):
            raise ValueError(f"{name} has shape {list(tensor.shape)}, expected {list(shape)}")


def require_rollout(name: str, x: Tensor) -> None:
    """Refuse anything but a floating `[T, B]` with at least one step.

    Args:
        name: of the argument, for the error.
        x: the tensor to look at.
    Raises:
        ValueError: naming the argument.
    """
    if x.ndim != 2 or x.shape[0] == 0:
        raise ValueError(f"{name} has shape {list(x.shape)}, expected [T, B] with T >= 1")
    if not x.is_floating_point():
        raise ValueError(f"{name} has dtype {x.dtype}, expected a floating type")


@torch.no_grad()
def backward_sum(x: Tensor, decay: Tensor) -> Tensor:
    """Solve y[i] = x[i] + decay[i] y[i+1], with y past the end equal to 0.

    One kernel per step. `decay[T-1]` is not used.

    Args:
        x: `[T, B]` or `[T, B, K]`.
        decay: of as many axes, and of the shape of x or one that spreads over it: `[T, B, 1]`.
    """
    y = x.clone()
    rows, decays = y.unbind(0), decay.unbind(0)
    for i in range(len(rows) - 2, -1, -1):
        rows[i].addcmul_(decays[i], rows[i + 1])
    return y


@torch.no_grad()
def vtrace(
    r: Tensor,
    discount: Tensor,
    v: Tensor,
    ratio: Tensor,
    tail_return: Tensor,
    *,
    rho_bar: float = 1.0,
    c_bar: float = 1.0,
) -> tuple[Tensor, Tensor]:
    """V-trace value targets, ended by the stored return of the last step, and the returns of each action.

        v_i = V_i + rho_i (r_i + discount_i V_{i+1} - V_i) + discount_i c_i (v_{i+1} - V_{i+1})
        v_{T-1} = V_{T-1} + rho_{T-1} (tail_return - V_{T-1})
        q_i = r_i + discount_i v_{i+1},  q_{T-1} = tail_return
        rho = min(rho_bar, ratio),  c = min(c_bar, ratio)

    Source: Wang et al. 2019, eq. 11 and 20 (Espeholt et al. 2018, eq. 1). The end of the roll-out is that
    of the authors' code, which needs no value past the last step. q carries the episode mask, which their
    code leaves out.

    Args:
        r: `[T, B]` rewards. A step that a time limit cut has r + gamma V(final observation) here and
            discount 0: the step after it belongs to another episode. r[T-1] is not used.
        discount: `[T, B]` gamma, or 0 where the episode ended after the step. discount[T-1] is not used.
        v: `[T, B]` values of the current critic at the states acted in.
        ratio: `[T, B]` pi(a|s) / mu(a|s), mu being what acted.
        tail_return: `[B]` return of the last step, its own reward included.
        rho_bar, c_bar: caps, `math.inf` for none.
    Returns:
        v_target `[T, B]` and q `[T, B]`.
    Raises:
        ValueError: a wrong shape, or a negative cap.
    """
    require_rollout("r", r)
    require_shape(tuple(r.shape), discount=discount, v=v, ratio=ratio)
    require_shape(tuple(r.shape[1:]), tail_return=tail_return)
    if rho_bar < 0 or c_bar < 0:
        raise ValueError(f"rho_bar and c_bar must not be negative, got {rho_bar} and {c_bar}")
    own_return = torch.cat([r[:-1] + discount[:-1] * v[1:], tail_return[None]])
    delta = ratio.clamp(max=rho_bar) * (own_return - v)
    v_target = v + backward_sum(delta, discount * ratio.clamp(max=c_bar))
    return v_target, action_returns(r, discount, v_target, tail_return)


@torch.no_grad()
def action_returns(r: Tensor, discount: Tensor, v_target: Tensor, tail_return: Tensor) -> Tensor:
    """q_i = r_i + discount_i v_{i+1}, q_{T-1} = tail_return: the return of each action. Arguments as in `vtrace`."""
    return torch.cat([r[:-1] + discount[:-1] * v_target[1:], tail_return[None]])


def _require_fraction(name: str, x: float) -> None:
    if not 0 <= x <= 1:
        raise ValueError(f"{name} must lie in [0, 1], got {x}")


@torch.no_grad()
def td_lambda(r: Tensor, discount: Tensor, v_next: Tensor, *, lam: float, done: Tensor | None = None) -> Tensor:
    """Lambda-returns with given values, bootstrapped by v_next at the end of the roll-out.

        R_i = r_i + discount_i ( (1 - lam) v_next_i + lam R_{i+1} )
        R_{T-1} = r_{T-1} + discount_{T-1} v_next_{T-1}

    Where `done`, R_i = r_i + discount_i v_next_i: a time limit bootstraps, and nothing of the next episode
    enters. Terminations need no flag, their discount is 0.

    Source: Wang et al. 2019, eq. 20, the part past the roll-out (lam 0.9).

    Args:
        r, discount: `[T, B]`.
        v_next: `[T, B]` value of the true state after each step (the final observation, before any reset).
        lam: in [0, 1].
        done: `[T, B]` bool or 0/1, the episode ended or was cut after the step. May be left out where every
            episode end has discount 0.
    Raises:
        ValueError: a wrong shape, or lam outside [0, 1].
    """
    require_rollout("r", r)
    require_shape(tuple(r.shape), discount=discount, v_next=v_next)
    _require_fraction("lam", lam)
    carried = torch.full_like(discount, lam)
    if done is not None:
        require_shape(tuple(r.shape), done=done)
        carried = carried.masked_fill(done.bool(), 0.0)
    carried[-1] = 0.0
    return backward_sum(r + discount * (1 - carried) * v_next, discount * carried)


@torch.no_grad()
def gae(r: Tensor, discount: Tensor, v: Tensor, v_next: Tensor, done: Tensor, *, lam: float) -> Tensor:
    """Generalised advantage estimates.

        A_i = r_i + discount_i v_next_i - v_i + discount_i lam (1 - done_i) A_{i+1},  A past the end = 0

    Source: Schulman et al. 2016, eq. 16.

    Args:
        r, v: `[T, B]` rewards and values of the states acted in.
        discount: `[T, B]` gamma, 0 where the episode terminated. A time limit keeps gamma: it bootstraps.
        v_next: `[T, B]` value of the true next observation, before any reset.
        done: `[T, B]` bool or 0/1, terminated or truncated: cuts the accumulation.
        lam: in [0, 1].
    Raises:
        ValueError: a wrong shape, or lam outside [0, 1].
    """
    require_rollout("r", r)
    require_shape(tuple(r.shape), discount=discount, v=v, v_next=v_next, done=done)
    _require_fraction("lam", lam)
    return backward_sum(r + discount * v_next - v, (discount * lam).masked_fill(done.bool(), 0.0))


@torch.no_grad()
def uae(r: Tensor, discount: Tensor, q: Tensor, b: Tensor, *, lam: float) -> Tensor:
    """Unified advantage estimates: GAE with values of actions and any baseline of the state.

        delta_i = r_i + discount_i q_{i+1} - b_i,  y_i = q_i - b_i
        U_i = (delta_i - y_i) + discount_i lam U_{i+1},  U past the end = 0
        A_i = delta_i + discount_i lam U_{i+1}

    So A = G^lambda(q) - b, the SARSA(lambda) return less the baseline. The accumulator carries A - y, which b has
    left: a wrong b moves no gradient in the mean. The accumulator of GAE carries A, and counts b again in each step.

    Source: Ma 2023, the authors' code, storage.py:64-92.

    Args:
        r: `[T, B]` rewards. A step that a time limit cut has r + gamma E q(final observation) here and discount 0.
        discount: `[T, B]` gamma, or 0 where the episode ended after the step.
        q: `[T+1, B]` values of the actions taken, the last that of an action drawn in the state past the roll-out;
            or `[T+1, B, K]`, K particles of them: each is a recursion of its own.
        b: `[T, B]` baselines of the states acted in.
        lam: in [0, 1].
    Returns:
        A `[T, B]`, or `[T, B, K]` with particles.
    Raises:
        ValueError: a wrong shape, or lam outside [0, 1].
    """
    require_rollout("r", r)
    require_shape(tuple(r.shape), discount=discount, b=b)
    steps, envs = r.shape
    if q.ndim not in (2, 3) or q.shape[:2] != (steps + 1, envs):
        raise ValueError(f"q has shape {list(q.shape)}, expected {[steps + 1, envs]} or {[steps + 1, envs]} + [K]")
    _require_fraction("lam", lam)
    if q.ndim == 3:
        r, discount, b = r[..., None], discount[..., None], b[..., None]
    delta = r + discount * q[1:] - b
    accumulated = backward_sum(delta - (q[:-1] - b), discount * lam)
    delta[:-1] += discount[:-1] * lam * accumulated[1:]
    return delta
