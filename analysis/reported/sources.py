"""Published numbers one by one, each with the protocol it was measured by (protocols.yaml beside this file)."""

import functools
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from analysis import reported
from bench.errors import UserError

FIELDS = (
    *("frame_skip", "sticky_actions", "life_loss_ends", "clipped_rewards", "starts", "full_action_space"),
    *("no_reward_limit", "max_frames", "reward"),
)
# What a suite's protocol consists of; MuJoCo has no frames, lives or clipped rewards, Atari one version, the ALE.
OF_ATARI, OF_MUJOCO = FIELDS[:-1], ("reward",)
PHASES = (None, "training", "evaluation")
FRAMES_PER_STEP = 4  # README.md: the column frames is agent steps x 4


@dataclass(frozen=True)
class Paper:
    """A published source and what it states about how it measured."""

    name: str
    title: str
    sources: tuple[str, ...]  # texts of the column source
    only: str  # regular expression that the implementation of a row holds
    protocol: dict[str, Any]  # field -> value, None where it is not stated
    raw: dict[str, Any]  # all that protocols.yaml says

    def has(self, source: str, implementation: str) -> bool:
        """Is this a row of the paper?"""
        return source in self.sources and re.search(self.only, implementation) is not None


@dataclass(frozen=True)
class Published:
    """One published number."""

    paper: str
    task: str  # an Atari game, or a MuJoCo environment without its version
    algorithm: str
    implementation: str
    value: float
    runs: int | None
    steps: float | None  # agent steps
    phase: str | None  # training | evaluation
    statistic: str | None  # how a run becomes one number
    kind: str  # the source's own words
    source: str
    protocol: dict[str, Any]  # field -> value, None where it is not stated

    @property
    def is_atari(self) -> bool:
        """Else it is of MuJoCo."""
        return "frame_skip" in self.protocol


def _fact(where: str, name: str, fact: Any) -> Any:
    """The value of a fact (UserError unless it is null or [value, source])."""
    if name not in FIELDS:
        raise UserError(f"{where}: {name} is no field of a protocol; allowed: {', '.join(FIELDS)}")
    if fact is None:
        return None
    if not isinstance(fact, list) or len(fact) != 2 or not isinstance(fact[1], str) or not fact[1]:
        raise UserError(f"{where}: {name} is {fact!r}; allowed: [value, where it is from], or null")
    return fact[0]


def read_papers(path: Path) -> tuple[dict[str, Paper], dict[str, tuple[str | None, str | None]]]:
    """protocols.yaml: papers by name, and score kind -> (phase, statistic). UserError for what breaks its form."""
    try:
        content = yaml.safe_load(path.read_text())
    except (OSError, yaml.YAMLError) as error:
        raise UserError(f"{path} cannot be read: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict) or set(content) != {"papers", "score_kinds"}:
        raise UserError(f"{path} must hold papers and score_kinds, nothing else")
    kinds = {}
    for text, kind in content["score_kinds"].items():
        if not isinstance(kind, dict) or set(kind) != {"phase", "statistic"} or kind["phase"] not in PHASES:
            raise UserError(f"{path}: score kind {text!r} is {kind!r}; allowed: a phase (training, evaluation, null)")
        kinds[str(text)] = (kind["phase"], kind["statistic"])
    papers = {}
    for name, raw in content["papers"].items():
        if absent := [key for key in ("title", "sources", "protocol") if key not in raw]:
            raise UserError(f"{path}: paper {name} lacks {', '.join(absent)}")
        facts = {key: _fact(f"{path}: paper {name}", key, fact) for key, fact in raw["protocol"].items()}
        only = str(raw.get("only", ""))
        papers[name] = Paper(name, raw["title"], tuple(raw["sources"]), only, dict.fromkeys(FIELDS) | facts, raw)
    return papers, kinds


@functools.cache
def _known() -> tuple[dict[str, Paper], dict[str, tuple[str | None, str | None]]]:
    return read_papers(reported.FOLDER / "protocols.yaml")


def papers() -> dict[str, Paper]:
    """Every published source by its short name."""
    return _known()[0]


def _published(paper: Paper, row: dict[Any, Any]) -> Published:
    """Args: row: of atari_published.csv or mujoco_published.csv."""
    where = "protocols.yaml"
    if row["score_kind"] not in _known()[1]:
        raise UserError(f"{where}: score kind {row['score_kind']!r} of {row['source']} is not there")
    phase, statistic = _known()[1][row["score_kind"]]
    is_atari = "game" in row
    budget = row["frames"] / FRAMES_PER_STEP if is_atari else row["steps"]
    protocol = {name: paper.protocol[name] for name in (OF_ATARI if is_atari else OF_MUJOCO)}
    if not is_atari:
        version = row["env_version"]
        protocol["env_version"] = None if pd.isna(version) or version == "as in that source" else version
    return Published(
        paper=paper.name,
        task=row["game"] if is_atari else row["env"],
        algorithm=row["algorithm"],
        implementation=row["implementation"],
        value=float(row["score"]),
        runs=None if pd.isna(row["seeds"]) else int(row["seeds"]),
        steps=None if pd.isna(budget) else float(budget),
        phase=phase,
        statistic=statistic,
        kind=row["score_kind"],
        source=row["source"],
        protocol=protocol,
    )


@functools.cache
def published() -> tuple[Published, ...]:
    """Every row of atari_published.csv and mujoco_published.csv, in their order (UserError: a row of no paper)."""
    found = []
    for name in ("atari_published.csv", "mujoco_published.csv"):
        for row in reported.read(name).to_dict("records"):
            owners = [paper for paper in papers().values() if paper.has(row["source"], row["implementation"])]
            if len(owners) != 1:
                said = ", ".join(paper.name for paper in owners) or "none"
                raise UserError(
                    f"{name}: {row['implementation']} of {row['source']} belongs to {said} of the papers in "
                    "protocols.yaml; allowed: one"
                )
            found.append(_published(owners[0], row))
    return tuple(found)
