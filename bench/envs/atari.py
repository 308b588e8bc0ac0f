"""Atari games through ALE's vector emulator, played by a stated protocol (conf/env/protocol/).

Choices where the emulator and the original wrappers (openai/baselines, gym NoFrameskip-v4) differ:
A1  Life loss: `life_loss_info` ends the learner's episode and leaves the game running, as EpisodicLife does.
A2  The steps that the original makes inside `reset` (a no-op after a life loss, FIRE, action 2) are made here as
    ordinary steps whose action is forced; `Step.acted` is False and learners give them no weight. They count for
    the no-reward limit, at most 3 of its 1000 steps.
A3  The no-reward limit and the frame cap reset the emulator. The original leaves the game running when lives are
    left; its score counter then spans resets. Such a game is recorded as cut, with the lives
    it had left; scores leave it out where it had any, as the reported curves do.
A4  Random starts: 0 .. noop_max - 1 raw no-op frames (the emulator's), the original 1 .. noop_max.
A5  The frame stack is not cleared by a life loss; the original clears it. Single frames are not concerned.

The vector emulator cannot be saved. A copy is brought back by its seed, as many resets as it has had games (each
draws its no-ops and sets the console's clock), and the actions of its present game, played again. This leads to the
same bits unless the console, switched on anew, remembers what was played (`remembers`), or actions stick, for which
every frame draws from the copy's generator. Then everything since the seed is played again, as fast as it was played,
and the state holds a byte for every step of every copy.
"""

from dataclasses import asdict
from functools import cache
from typing import Any

import numpy as np
from ale_py import ALEInterface, roms
from ale_py.registration import rom_id_to_name
from ale_py.vector_env import AtariVectorEnv
from gymnasium.vector import AutoresetMode

from bench.env_config import AtariConfig
from bench.envs.base import Step, check_actions, fingerprint, require_own, require_same, to_tensor

SCREEN = 84  # pixels, Mnih et al. 2015
NOOP, FIRE, SECOND = 0, 1, 2
STACK = 122  # of the console's 128 bytes; where the last ones outlive a reset alone, they are old stack


@cache
def rom_ids() -> dict[str, str]:
    """Games by their published name (CamelCase) to the emulator's (snake_case)."""
    return {rom_id_to_name(rom): rom for rom in roms.get_all_rom_ids()}


def task_names() -> list[str]:
    """All games that the emulator ships, in CamelCase."""
    return sorted(rom_ids())


def rom_path(task: str) -> str:
    """File of the game's ROM, whose hash goes into the manifest."""
    return str(roms.get_rom_path(rom_ids()[task]))


@cache
def remembers(task: str) -> bool:
    """True if bytes of the console's memory outlive a reset, so that a game may depend on those before it.

    Tried by filling the memory of two consoles with noise before each of some resets. Of 104 games eleven keep bytes,
    IceHockey, KungFuMaster, Surround, TimePilot and YarsRevenge among them. Pooyan, Seaquest and Venture keep no more
    than old bytes of their stack, which are written before they are read.
    """
    rng = np.random.default_rng(0)
    consoles = ALEInterface(), ALEInterface()
    for console in consoles:
        console.setFloat("repeat_action_probability", 0.0)  # some games press buttons when they are reset
        console.loadROM(rom_path(task))
    for _ in range(8):
        for console in consoles:
            for address, byte in enumerate(rng.integers(256, size=128).tolist()):
                console.setRAM(address, byte)
            console.reset_game()
        if not np.array_equal(consoles[0].getRAM()[:STACK], consoles[1].getRAM()[:STACK]):
            return True
    return False


def make(config: AtariConfig, threads: int) -> "AtariEnv":
    """Build the games of a run. Args: threads: emulator threads; results do not depend on them."""
    return AtariEnv(config, threads)


class AtariEnv:
    """B copies of one game. Every argument of the emulator is given: none of its defaults is the protocol."""

    def __init__(self, config: AtariConfig, threads: int):
        protocol = self.protocol = config.protocol
        self.num_envs = config.num_envs
        self._ale = AtariVectorEnv(
            rom_ids()[config.task],
            config.num_envs,
            batch_size=0,
            num_threads=threads,
            thread_affinity_offset=-1,
            max_num_frames_per_episode=protocol.max_frames,
            repeat_action_probability=protocol.repeat_action_probability,
            full_action_space=protocol.full_action_space,
            continuous=False,
            continuous_action_threshold=0.5,
            autoreset_mode=AutoresetMode.SAME_STEP,
            img_height=SCREEN,
            img_width=SCREEN,
            grayscale=True,
            stack_num=config.frame_stack,  # A5
            frameskip=protocol.frame_skip,
            maxpool=protocol.frame_skip > 1,
            noop_max=protocol.noop_max,  # A4
            episodic_life=False,
            life_loss_info=protocol.life_loss_terminates,  # A1
            reward_clipping=False,
            use_fire_reset=False,
        )
        # The constructor writes into a dictionary that all vector environments of the process share.
        self._ale.metadata = dict(self._ale.metadata)
        self.meanings = tuple(action.name for action in self._ale.ale.get_action_set())
        self.num_actions = len(self.meanings)
        self.action_range: tuple[np.ndarray, np.ndarray] | None = None
        self.obs_shape = (config.frame_stack, SCREEN, SCREEN)
        self.obs_dtype = np.dtype(np.uint8)
        has_fire = protocol.fire_sequence and len(self.meanings) > SECOND and self.meanings[FIRE] == "FIRE"
        # Forced actions after a life loss; after a reset of the game they begin with the second.
        self._script = np.array([NOOP, *([FIRE, SECOND] if has_fire else [])] if protocol.fire_sequence else [])
        self._of = asdict(config)
        self._lives: np.ndarray
        self._origin: np.ndarray
        self._obs: np.ndarray
        self._seeds = np.empty(0, dtype=np.int64)
        self._sent = bytearray()  # actions that reached the emulator since the seeds, a row of B per step

    def reset(self, seeds: np.ndarray) -> np.ndarray:
        """Start all games. Args: seeds: `[B]` in [0, 2**31). Returns frames `[B, stack, 84, 84]` uint8."""
        if seeds.shape != (self.num_envs,) or seeds.dtype.kind not in "iu" or seeds.min() < 0 or seeds.max() >= 2**31:
            raise ValueError(f"seeds must be {self.num_envs} integers in [0, 2**31), got {seeds}")
        self._seeds = seeds.astype(np.int64)
        self._sent.clear()
        self._games, self._idle, self._began, self._scripted = np.zeros((4, self.num_envs), dtype=np.int64)
        self._restart(np.ones(self.num_envs, dtype=bool), self._seeds)
        return self._obs

    def step(self, actions: np.ndarray) -> Step:
        """Take one action per game. An action outside the game's set is refused: the emulator would hang."""
        actions = check_actions(actions, self.num_envs, self.num_actions)
        acted = self._scripted >= len(self._script)  # A2
        if not acted.all():
            actions = np.where(acted, actions, np.append(self._script, NOOP)[self._scripted])
        obs, raw, terminated, truncated, info = self._ale.step(actions.astype(np.int64))
        self._sent += actions.astype(np.uint8).tobytes()
        # Frames before the present game: they grow exactly when the emulator reset itself.
        origin = info["frame_number"] - info["episode_frame_number"]
        game_over, self._origin = origin != self._origin, origin
        final_obs = obs
        truncated &= ~terminated
        # The emulator tells the lives after its own reset; a game that it ended has those of the step before.
        lives = np.where(game_over & truncated, self._lives, np.where(game_over, 0, info["lives"]))
        if game_over.any():
            final_obs = np.where(game_over[:, None, None, None], info["final_obs"], obs)
        self._obs, self._lives = obs, info["lives"]
        ended = terminated | truncated
        self._idle = np.where(ended | (raw != 0), 0, self._idle + 1)
        if (limit := self.protocol.no_reward_limit) and (stuck := self._idle > limit).any():  # A3
            self._restart(stuck)
            truncated, ended, game_over = truncated | stuck, ended | stuck, game_over | stuck
        if game_over.any():
            self._games += game_over
            self._began[game_over] = self._steps
        self._scripted = np.minimum(self._scripted + 1, len(self._script))
        self._scripted[ended] = np.where(game_over, min(1, len(self._script)), 0)[ended]
        cut = truncated.copy()
        if self.protocol.limits_terminate:
            terminated, truncated = ended, np.zeros_like(truncated)
        reward = np.sign(raw) if self.protocol.sign_rewards else raw
        return Step(
            self._obs,
            reward.astype(np.float32),
            terminated,
            truncated,
            final_obs,
            acted,
            raw.astype(np.float64),
            game_over,
            cut,
            lives,
        )

    def state_dict(self) -> dict[str, Any]:
        """Plain state. Raises ValueError before the first reset."""
        if not len(self._seeds):
            raise ValueError("state_dict before reset")
        games, began = self._games, self._began
        if self._everything():
            games, began = np.zeros((2, self.num_envs), dtype=np.int64)
        first = int(began.min())
        sent = np.frombuffer(self._sent, dtype=np.uint8).reshape(-1, self.num_envs)[first:]
        arrays: dict[str, np.ndarray] = {"seeds": self._seeds, "games": games, "began": began - first, "sent": sent}
        tensors = {name: to_tensor(array) for name, array in arrays.items()}
        return {"of": self._of, "obs": fingerprint(self._obs), **tensors}

    def load_state_dict(self, state: dict[str, Any]) -> np.ndarray:
        """Go on from such a state, after playing it again. See `VecEnv` and the head of this file.

        All copies step together, so that one whose game is younger than the oldest plays anything until its turn.
        """
        require_own(state, self._of)
        seeds, games, began, sent = (state[name].numpy() for name in ("seeds", "games", "began", "sent"))
        self.reset(seeds)
        for step, actions in enumerate(sent):
            self._rejoin(began == step, games)
            self.step(actions)
        self._rejoin(began == len(sent), games)
        require_same(self._obs, state)
        return self._obs

    def close(self) -> None:
        """Stop the emulators."""
        self._ale.close()

    def _everything(self) -> bool:
        """True if all since the seeds must be played again, not the present game alone."""
        return self.protocol.repeat_action_probability > 0 or remembers(self._of["task"])

    @property
    def _steps(self) -> int:
        """Steps since the seeds, or since the first that a restored copy had to play again."""
        return len(self._sent) // self.num_envs

    def _rejoin(self, copies: np.ndarray, games: np.ndarray) -> None:
        """Bring these copies to the beginning of their game of this number, from 0."""
        if self._steps and copies.any():  # else they have just been seeded
            self._restart(copies, self._seeds[copies])
        for game in range(games[copies].max(initial=0)):
            self._restart(copies & (games > game))
        self._games[copies] = games[copies]

    def _restart(self, copies: np.ndarray, seeds: np.ndarray | None = None) -> None:
        """Begin a game in these copies, seeding them before or not."""
        self._obs, info = self._ale.reset(seed=seeds, options={"reset_mask": copies})
        self._origin = info["frame_number"] - info["episode_frame_number"]
        self._lives = info["lives"]
        self._began[copies] = self._steps
        self._idle[copies] = 0
        self._scripted[copies] = min(1, len(self._script))
