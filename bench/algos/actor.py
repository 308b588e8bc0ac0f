"""The acting half: samples actions from a network, keeps what a learner needs, and turns steps into a chunk of replay.

Source: Wang et al. 2019, algorithm 1 and eq. 20; where paper and released code differ, or leave a choice:

G1  pi_t(a|s) is the probability stored when acting, so it differs from sample to sample; there is no snapshot.
G2  The last step of a roll-out uses the stored TD(lambda) return of the behaviour values. It is computed
    once, when the actor's chunk is complete, and bootstrapped from the value after the chunk; the original's replay
    memory computes it anew over the open episode with each push. At 896 steps a chunk this cuts more than a tenth
    of the lambda-tail for 2 % of the steps, at 256 (dapo_cpu) for 8 %.
G3  The stored LSTM state is the one before the step; with `released.late_state` the one after it.
G4  A time limit bootstraps: gamma V_t(last observation) enters the stored reward, the discount is 0.
G5  Steps that the protocol forced (FIRE after a reset) have weight 0 and are cut off from their neighbours.
G6  With `released.unmarked_starts` the learner is told of no boundary: no start, no discount of 0, and so no bootstrap
    in the reward. Only the TD(lambda) return is still right. Forced steps, which the original hides in its
    environment, are then run through too. The LSTM state kept at a start is the zero state that acted.
"""

import numpy as np
import torch
from torch import Tensor

from bench.config import DapoConfig
from bench.envs.base import Step
from bench.frames import Frames
from bench.keeping import Kept, Rows
from bench.loop import is_boundary
from bench.nets import ActorCritic
from bench.ops.returns import td_lambda

Batch = dict[str, Tensor]
HEADS = ("h", "c")  # fields that a roll-out needs at its first step only


class Actor(Kept):
    """Acts for a batch of environments with a network that somebody else may train between two chunks."""

    KEPT = ("state", "steps", "following")  # network, generator and frames are the owner's

    def __init__(
        self,
        net: ActorCritic,
        config: DapoConfig,
        num_envs: int,
        generator: torch.Generator,
        frames: Frames | None = None,
    ):
        """Set up.

        Args:
            net: acts, wherever its parameters lie.
            frames: where the frames of observations are kept, whose numbers stand in the chunk instead; None: the
                chunk holds the observations.
        """
        self.net, self.config, self.num_envs, self.generator = net, config, num_envs, generator
        self.frames = frames
        self.device = next(net.parameters()).device
        self.state = net.initial_state(num_envs, self.device)
        self.steps = Rows()  # of the chunk being generated, [actors, ...] each
        self.following: Batch = {}  # obs and start of what comes after the last step

    @torch.no_grad()
    def act(self, obs: np.ndarray, start: np.ndarray) -> np.ndarray:
        """Sample an action per environment and keep what the learner will need."""
        kept = self.frames.push(obs) if self.frames else torch.from_numpy(obs)
        x, began = self._see(obs), torch.from_numpy(start).to(self.device)
        h, c = self.state
        logits, value, self.state = self.net(x.unsqueeze(0), self.state, began.unsqueeze(0))
        if self.config.released.late_state:
            h, c = self.state  # G3
        elif self.config.released.unmarked_starts:
            keep = ~began.unsqueeze(1)
            h, c = h * keep, c * keep  # G6
        log_p = logits[0].log_softmax(-1)
        action = torch.multinomial(log_p.exp().cpu(), 1, generator=self.generator)
        chosen = action.to(self.device)
        self.steps.append(
            {
                "obs": kept,
                "action": chosen[:, 0],
                "log_mu": log_p.gather(1, chosen)[:, 0],  # G1
                "v": value[0],
                "start": began,
                "h": h,
                "c": c,
            }
        )
        return action[:, 0].numpy()

    def observe(self, step: Step) -> None:
        """Add what the last action led to."""
        raw = reward = torch.from_numpy(step.reward)
        if step.truncated.any():
            last = self._value(step.final_obs, np.zeros(self.num_envs, dtype=bool)).cpu()
            reward = raw + self.config.gamma * last * torch.from_numpy(step.truncated)  # G4
        boundary = torch.from_numpy(is_boundary(step))
        discount = self.config.gamma * (~boundary).float()
        self.steps[-1].update(r=reward, discount=discount, weight=torch.from_numpy(step.acted).float())  # G5
        if self.config.released.unmarked_starts or self.config.released.unmasked_returns:
            self.steps[-1]["raw"] = raw
        self.following = {"obs": torch.from_numpy(step.obs), "start": boundary}

    @torch.no_grad()
    def take(self) -> Batch:
        """The chunk on the network's device, `[steps, actors, ...]`, with each step's return; begins the next one."""
        chunk = {name: column.to(self.device) for name, column in self.steps.columns().items()}
        self.steps.clear()
        v, following = chunk.pop("v"), {name: value.numpy() for name, value in self.following.items()}
        v_next = torch.cat([v[1:], self._value(following["obs"], following["start"]).unsqueeze(0)])
        chunk["ret"] = td_lambda(chunk["r"], chunk["discount"], v_next, lam=self.config.lam)  # G2
        if self.config.released.unmarked_starts:
            chunk["r"] = chunk["raw"]  # G6
            chunk["discount"] = torch.full_like(chunk["discount"], self.config.gamma)
            chunk["start"] = torch.zeros_like(chunk["start"])
        return chunk

    @torch.no_grad()
    def _value(self, obs: np.ndarray, start: np.ndarray) -> Tensor:
        """Value of observations that follow the last step, from the present LSTM state. `[actors]`."""
        began = torch.from_numpy(start).to(self.device)
        _, value, _ = self.net(self._see(obs).unsqueeze(0), self.state, began.unsqueeze(0))
        now: Tensor = value[0]
        return now

    def _see(self, obs: np.ndarray) -> Tensor:
        return torch.from_numpy(obs).to(self.device)
