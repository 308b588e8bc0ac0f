"""Measure by how much the scores of Atari games move: `python -m analysis.score_steps [FILE]` (three minutes).

Writes analysis/reported/atari_score_steps.csv, from which `analysis.integrity` knows which returns a game cannot give.
Random play sees few kinds of rewards, so `divisor` can be too large: Seaquest gives 20 at first and 30 later. The rule
that uses it keeps to the last digit for that reason.
"""

import importlib.metadata
import sys
from math import gcd
from pathlib import Path

import numpy as np
import pandas as pd

from analysis.integrity import SCORE_STEPS
from bench.files import write_atomically

SEEDS, STEPS, SKIP, HELD = 3, 2400, 4, 8  # seeds, agent steps of each, frames of each, longest that an action is held


def rewards(rom: Path, seed: int) -> list[int]:
    """Non-zero raw rewards of random play, one per agent step that gave any.

    Args: rom: file of the game; seed: of the console and of the actions, each of which is held 1 .. HELD steps.
    """
    from ale_py import ALEInterface, LoggerMode

    ALEInterface.setLoggerMode(LoggerMode.Error)
    console, rng, found = ALEInterface(), np.random.default_rng(seed), []
    console.setInt("random_seed", seed)
    console.setInt("frame_skip", SKIP)
    console.setFloat("repeat_action_probability", 0.0)
    console.loadROM(rom)
    actions = console.getMinimalActionSet()
    action, left = actions[0], 0
    for _ in range(STEPS):
        if console.game_over():
            console.reset_game()
        if left == 0:
            action, left = actions[rng.integers(len(actions))], int(rng.integers(1, HELD + 1))
        left -= 1
        if reward := int(console.act(action)):
            found.append(reward)
    return found


def measure() -> pd.DataFrame:
    """One row per game that the emulator plays: divisor of the rewards (0: none seen), the smallest, their number."""
    from ale_py import ALEInterface, roms
    from ale_py.registration import rom_id_to_name

    source = (
        f"random play in ale-py {importlib.metadata.version('ale-py')}: {SEEDS} seeds of {STEPS} agent steps of {SKIP} "
        f"frames; actions held 1 to {HELD} steps"
    )
    rows = []
    for rom in sorted(roms.get_all_rom_ids(), key=rom_id_to_name):
        path = Path(str(roms.get_rom_path(rom)))
        if ALEInterface.isSupportedROM(path) is None:  # made for two players; loading it would end the process
            continue
        seen = [abs(reward) for seed in range(SEEDS) for reward in rewards(path, seed)]
        row = {"game": rom_id_to_name(rom), "divisor": gcd(*seen), "smallest": min(seen, default=0)}
        rows.append(row | {"rewards": len(seen), "seeds": SEEDS, "agent_steps": SEEDS * STEPS, "source": source})
    return pd.DataFrame(rows)


def main(arguments: list[str]) -> int:
    """Measure and write. Args: arguments: the file, if not the project's."""
    path = Path(arguments[0]) if arguments else SCORE_STEPS
    print(write_atomically(path, measure().to_csv(index=False, lineterminator="\n")))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
