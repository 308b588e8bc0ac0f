"""The figures of a paper by number, from what was digitised of them, with our runs where they are comparable.

    python -m analysis figures paper=dapo figure=1

Of the DAPO paper: Figure 1 (relative score per game), Figure 2 (six learning curves with bands), Figures 3 and 4
(58 games at 16 and 64 actors, of which the first bin and the ends are digitised, not the curves).
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis import provenance, reported
from analysis.figures import Drawn
from analysis.plan import Plan, planned
from analysis.protocol import differing
from analysis.ranges import relative_scale
from analysis.scores import GRID, WINDOW, matched_steps
from analysis.study import Study, analyse
from bench.errors import UserError

PAPERS = {"dapo": (1, 2, 3, 4)}
CHECKS = ("dapo_reported", "multi_step", "data_regime")  # whose arms are the paper's methods
METHODS = ("PPO", "PPO+DA", "PPO+DA(1-step)", "PPO+Entropy")
# Generated agent steps per hour: 16 actors, 3500 per second (P section 5.1). For Figure 4's 64 actors the paper names
# no rate; as many per actor is our inference.
STEPS_PER_HOUR = {1: 12_600_000, 2: 12_600_000, 3: 12_600_000, 4: 4 * 12_600_000}
HOURS = {1: 2.0, 2: 4.64, 3: 2.0, 4: 4.45}  # length of the paper's runs
# What a run may differ in from the 16-actor setting and still belong to the figure.
FREE = {1: (), 2: (), 3: (), 4: ("env.num_envs", "algo.reuse")}
RUNS = {1: 1, 2: 5, 3: 1, 4: 1}  # of the paper, per game and method
ACTORS = {1: 16, 2: 16, 3: 16, 4: 64}
CLIP = (-100.0, 200.0)  # percent, as the paper's bars are cut at 200


@dataclass(frozen=True)
class Ours:
    """Our runs of the paper's methods."""

    curves: pd.DataFrame  # game, method, arm, seed, step, score: binned
    scores: pd.DataFrame  # game, method, arm, seed, score: final
    notes: list[str]  # what is there and cannot be compared, as sentences

    def mean(self, game: str, method: str) -> float:
        """Mean final score over seeds, NaN without any."""
        here = self.scores[(self.scores["game"] == game) & (self.scores["method"] == method)]
        return float(here["score"].mean()) if len(here) else math.nan


NOTHING = Ours(
    pd.DataFrame(columns=["game", "method", "arm", "seed", "step", "score"]),
    pd.DataFrame(columns=["game", "method", "arm", "seed", "score"]),
    [],
)


@dataclass(frozen=True)
class OurRun:
    """One run that stands for a method of the paper."""

    game: str
    method: str
    arm: str
    seed: int
    curve: pd.DataFrame  # step, score: binned, cut to the figure's length
    score: float | None  # final; None: the run covers too little of the figure
    covered: float  # agent steps, at most the figure's


def obstacles(config: dict[str, Any], theirs: dict[str, Any], figure: int) -> list[str]:
    """Fields in which a run differs from the figure's setting; empty when the two are comparable."""
    fields = [item.field for item in differing(config, theirs) if item.field not in FREE[figure]]
    actors = config.get("env", {}).get("num_envs")
    return fields if actors == ACTORS[figure] else sorted({*fields, "env.num_envs"})


def method_of(config: dict[str, Any]) -> str | None:
    """The paper's name of what a configuration trains: PPO (1/eta = 0) or PPO+DA; None for anything else."""
    algo = config["algo"]
    if algo.get("inv_eta") == 0:
        return "PPO"
    return "PPO+DA" if algo.get("divergence") == "kl" and algo.get("horizon") is None else None


def plain_settings(plan: Plan) -> dict[str, dict[str, Any]]:
    """Method -> the paper's setting of it: of the arm that bears the method's name, as the plan froze it.

    An arm's own setting would contain what the arm changes, and a variant would be compared with itself.
    """
    found: dict[str, dict[str, Any]] = {}
    for name, arm in plan.arms.items():
        if arm.reported in METHODS and name in plan.reference_config:
            found.setdefault(str(arm.reported), plan.reference_config[name])
    return found


def _comparable(study: Study, figure: int) -> tuple[list[OurRun], list[str]]:
    """The runs of a study that are done, finished games and are the paper's methods; what is left out, as notes."""
    ends, length = matched_steps(study.store.runs), HOURS[figure] * STEPS_PER_HOUR[figure]
    plain, found, fields, arms = plain_settings(study.plan), [], set(), []
    for key, curve in sorted(study.curves.items()):
        arm, game, seed = key
        config = study.store.configs[key]
        method = study.plan.arms[arm].reported or method_of(config)
        if method not in METHODS or not reported.is_atari(game):
            continue
        if against := obstacles(config, plain.get(method, {}), figure):
            fields |= set(against)
            arms.append(study.plan.arms[arm].label)
            continue
        steps = (np.arange(GRID) + 1) * ends[game] / GRID
        part = pd.DataFrame({"step": steps, "score": curve}).dropna()
        part = part[part["step"] <= length]
        final = part.loc[part["step"] > (1 - WINDOW) * min(length, ends[game]), "score"]
        whole = len(final) and ends[game] >= (1 - WINDOW) * length
        score = float(final.mean()) if whole else None
        found.append(OurRun(game, method, arm, seed, part, score, min(length, ends[game])))
    if not fields:
        return found, []
    shown = sorted(fields)
    more = f" and {len(shown) - 6} more" if len(shown) > 6 else ""
    note = (
        f"Runs of {study.plan.name}, scale {study.plan.scale} ({', '.join(dict.fromkeys(arms))}), are left out as not "
        f"comparable: {', '.join(shown[:6])}{more} differ."
    )
    return found, [note]


def _gather(runs: list[OurRun], notes: list[str], figure: int) -> Ours:
    """Every run once and whole: where two checks have a run of one game, method and seed, the longer one stands."""
    longest: dict[tuple[str, str, int], OurRun] = {}
    for run in runs:
        key = (run.game, run.method, run.seed)
        if key not in longest or run.covered > longest[key].covered:
            longest[key] = run
    kept = list(longest.values())
    curves = [run.curve.assign(game=run.game, method=run.method, arm=run.arm, seed=run.seed) for run in kept]
    scores = [
        {"game": run.game, "method": run.method, "arm": run.arm, "seed": run.seed, "score": run.score}
        for run in kept
        if run.score is not None
    ]
    short = len(kept) - len(scores)
    said = f"{short} runs are shorter than the figure's {HOURS[figure]:g} hours and have no final score here."
    return Ours(
        pd.concat([NOTHING.curves, *curves], ignore_index=True) if curves else NOTHING.curves,
        pd.DataFrame(scores) if scores else NOTHING.scores,
        [*notes, said] if short else notes,
    )


def collect(studies: list[Study], figure: int) -> Ours:
    """The comparable runs of studies, cut to the figure's length.

    A final score is the mean of the last tenth of that length, as in `analysis.scores`; a run that covers less than
    nine tenths of it has a curve and no final score.
    """
    found = [_comparable(study, figure) for study in studies]
    return _gather([run for runs, _ in found for run in runs], [note for _, notes in found for note in notes], figure)


def studies_of(source: Path | None) -> list[Study]:
    """The largest scale of each check of CHECKS in a store or a results folder (UserError: no plan); [] for None."""
    if source is None:
        return []
    there = planned(source)
    checks = [check for check in CHECKS if check in there]
    if not checks:
        raise UserError(f"{source} holds no plan of {', '.join(CHECKS)}, whose runs belong beside the paper's figures")
    return [analyse(source, check, there[check][-1]) for check in checks]


def recomputed(games: pd.DataFrame, figure: int) -> pd.Series:
    """The relative score of every game from the digitised ends of Figure 3 or 4, percent, whatever its sign means.

    (proposed - baseline) / (max(human, baseline) - random), random = first bin of PPO in Figure 3; without a human
    score the baseline alone. VideoPinball's denominator is negative in Figure 3, as it must have been near zero in the
    paper.
    """
    baseline, proposed = games[f"fig{figure}_ppo_last5"], games[f"fig{figure}_da_last5"]
    scale = np.fmax(games["human_score"], baseline) - games["fig3_first_bin_ppo"]
    return pd.Series(100 * (proposed - baseline) / scale, dtype=float)


def our_relative(ours: Ours, games: pd.DataFrame) -> pd.Series:
    """Our relative score per game, percent; NaN without both methods or without a positive denominator."""
    values = {}
    for game, row in games.iterrows():
        baseline, proposed = ours.mean(str(game), "PPO"), ours.mean(str(game), "PPO+DA")
        human, random = reported.human_random().get(str(game), (None, float(row["fig3_first_bin_ppo"])))
        scale = None if math.isnan(baseline + proposed) else relative_scale(baseline, human, random)
        values[game] = math.nan if scale is None else 100 * (proposed - baseline) / scale
    return pd.Series(values, dtype=float)


def summary(percent: pd.Series) -> dict[str, float]:
    """How many games are above, at and below 0; median, mean, and mean of the values cut to CLIP."""
    return {
        "games": len(percent),
        "above": int((percent > 0).sum()),
        "zero": int((percent == 0).sum()),
        "below": int((percent < 0).sum()),
        "median": float(percent.median()),
        "mean": float(percent.mean()),
        "clipped": float(percent.clip(*CLIP).mean()),
    }


def rank_agreement(games: pd.DataFrame, figure: int) -> float:
    """Spearman correlation of the labels of Figure 1 with the percents recomputed from Figure 3 or 4."""
    return float(games["fig1_rel_pct"].corr(recomputed(games, figure), method="spearman"))


def draw(paper: str, figure: int, source: Path | None, out: Path) -> list[Drawn]:
    """Draw a figure of a paper.

    Args: paper: key of PAPERS; figure: its number there; source: a store or results folder with our runs, None: the
    paper alone; out: folder to write into. UserError names what exists.
    """
    if figure not in PAPERS.get(paper, ()):
        known = "; ".join(f"paper={name} figure={', '.join(map(str, numbers))}" for name, numbers in PAPERS.items())
        raise UserError(f"paper={paper} figure={figure} is not there; there is: {known}")
    studies = studies_of(source)
    ours = collect(studies, figure)
    runs = pd.concat([ours.curves, ours.scores])[["arm", "game", "seed"]]
    keys = set(runs.itertuples(index=False, name=None))
    return [provenance.record(draw_figure(figure, ours, out), studies, keys=keys)]


def draw_figure(figure: int, ours: Ours, out: Path) -> Drawn:
    """Draw a figure of the DAPO paper with our runs."""
    from analysis.figures import paper_games, paper_panels  # matplotlib takes its time; a wrong number should not

    if figure == 1:
        return paper_panels.relative_scores(ours, out)
    if figure == 2:
        return paper_panels.six_games(ours, out)
    return paper_games.all_games(figure, ours, out)
