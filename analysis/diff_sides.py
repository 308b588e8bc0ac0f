"""The two sides of a diff: a store, packed results, or the results of a revision of this project, judged now."""

import dataclasses
import io
import math
import tarfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from analysis import archive
from analysis.load import RunKey, Store, load_store, run_records
from analysis.measure import Verdict
from analysis.plan import archive_folder, is_archive, planned, read_plan
from analysis.scores import METRICS
from analysis.study import Study, judge_store
from bench.checkout import git
from bench.errors import UserError


@dataclass(frozen=True)
class Side:
    """One of the two things that are compared."""

    name: str
    root: Path
    said: str  # for the first lines of the output


@dataclass(frozen=True)
class Said:
    """What is said of a claim: by a verdicts.json, or by judging now."""

    verdict: str
    estimate: float | None
    interval: tuple[float, float] | None
    n: int


@dataclass(frozen=True)
class Judged:
    """A check on one side. `now`: judged from its own data; `stated`: by the pack's verdicts.json, else empty."""

    study: Study | None
    now: dict[str, Verdict] = field(default_factory=dict)
    stated: dict[str, Said] = field(default_factory=dict)
    renumbered: int = 0  # runs of which runs.csv states another number than the games beside it give now
    problem: str = ""  # why it cannot be judged now

    def says(self, claim: str) -> Said | None:
        """What this side says of a claim: what its pack stated, else what its data give now."""
        return self.stated.get(claim) or self.gives(claim)

    def gives(self, claim: str) -> Said | None:
        """What its data give now."""
        return said_now(self.now[claim]) if claim in self.now else None

    @property
    def claims(self) -> set[str]:
        """All that it says anything of."""
        return self.stated.keys() | self.now.keys()


def said_now(verdict: Verdict) -> Said:
    """A judged claim, in short."""
    low_high = (verdict.interval[0], verdict.interval[1]) if verdict.interval else None
    return Said(verdict.verdict, verdict.estimate, low_high, verdict.n)


def _commit(name: str) -> str | None:
    """The commit that a name means in the project; None where it means none."""
    if name.startswith("-"):
        return None
    found = git("rev-parse", "--verify", "--quiet", f"{name}^{{commit}}")
    return found.decode().strip() if found else None


def resolve(name: str, into: Path) -> Side:
    """A folder, or the committed results of a revision, unpacked below `into` (UserError for neither)."""
    folder, commit = Path(name), _commit(name)
    if folder.is_dir():
        if not planned(folder):
            raise UserError(f"{name} is a folder without a plan: neither a store nor packed results")
        also = f"; {name} is a revision too: the folder was taken" if commit else ""
        return Side(name, folder, f"{name} ({'packed results' if is_archive(folder) else 'a store'}){also}")
    if commit is None:
        raise UserError(f"{name} is neither a folder nor a revision of this project")
    packed = git("archive", commit, "results")
    if packed is None:
        raise UserError(f"revision {name} ({commit[:12]}) has no results/")
    with tarfile.open(fileobj=io.BytesIO(packed)) as tar:
        tar.extractall(into, filter="data")
    return Side(name, into / "results", f"{name} (results/ of commit {commit[:12]})")


def _stated(path: Path) -> dict[str, Said]:
    found = {}
    for claim in archive.read_json(path, ("claims",))["claims"]:
        try:
            ends = claim["interval"]
            interval = (float(ends[0]), float(ends[1])) if ends else None
            found[claim["id"]] = Said(claim["verdict"], claim["estimate"], interval, claim["n"])
        except (KeyError, TypeError, IndexError) as error:
            raise UserError(f"{path} holds a claim without its id, verdict, estimate, interval or n") from error
    return found


def _renumbered(written: pd.DataFrame, computed: pd.DataFrame) -> int:
    """Runs of which a number is written that is not what is computed now. Numbers not yet written then do not count."""
    count = 0
    for (_, before), (_, now) in zip(run_records(written), run_records(computed), strict=True):
        pairs = [(float(before[name]), float(now[name])) for name in METRICS if name in before]
        same = [math.isclose(x, y, rel_tol=1e-9, abs_tol=1e-12) or (math.isnan(x) and math.isnan(y)) for x, y in pairs]
        count += not all(same)
    return count


def judged(side: Side, check: str, scale: str) -> Judged:
    """A check of one side. What cannot be judged now, such as a plan of another age, is a `problem`, not an error."""
    stated: dict[str, Said] = {}
    try:
        if not is_archive(side.root):
            plan = read_plan(side.root, check, scale)
            study = judge_store(side.root, None, plan, load_store(side.root, plan))
            return Judged(study, {verdict.id: verdict for verdict in study.verdicts})
        folder = archive_folder(side.root, check, scale)
        if (folder / "verdicts.json").is_file():
            stated = _stated(folder / "verdicts.json")
        plan = read_plan(side.root, check, scale)
        runs = archive.read_runs(folder, plan)
        study = judge_store(side.root, None, plan, archive.read_store(folder, plan, runs))
    except UserError as error:
        return Judged(None, stated=stated, problem=str(error).replace(str(side.root), side.name))
    now = {verdict.id: verdict for verdict in study.verdicts}
    return Judged(study, now, stated, _renumbered(runs, study.scored))


def _only(frame: pd.DataFrame, keys: set[RunKey]) -> pd.DataFrame:
    mask = [key in keys for key in zip(frame["arm"], frame["task"], frame["seed"].astype(int), strict=True)]
    return frame[mask].reset_index(drop=True)


def restricted(study: Study, keys: set[RunKey]) -> dict[str, Verdict]:
    """Claim -> verdict of the study if only these runs had been planned."""
    plan = dataclasses.replace(
        study.plan, runs=tuple(run for run in study.plan.runs if (run.arm, run.task, run.seed) in keys)
    )
    frames: dict[str, Any] = {name: _only(getattr(study.store, name), keys) for name in ("runs", "episodes", "metrics")}
    configs = {key: config for key, config in study.store.configs.items() if key in keys}
    manifests = {key: manifest for key, manifest in study.store.manifests.items() if key in keys}
    again = judge_store(study.root, None, plan, Store(**frames, configs=configs, manifests=manifests))
    return {verdict.id: verdict for verdict in again.verdicts}
