"""What runs that exist say of a plan's claims: those of the store, and a pilot's.

Reading thousands of runs takes a minute, so both their numbers and what was made of them is kept in the store, under a
digest of all that it depends on: the runs, the claims, the pilot's files, and the referee's code and libraries.
"""

import contextlib
import hashlib
import json
from dataclasses import asdict, dataclass, field, replace
from functools import cache, cached_property
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.files import write_atomically

if TYPE_CHECKING:
    import pandas as pd

    from analysis.plan import Claim
    from analysis.plan import Plan as FrozenPlan
    from analysis.power import Spread

KEPT = "scored"  # folder of the store, of numbers that can be computed again
ANALYSIS = Path(__file__).resolve().parent.parent / "analysis"
LIBRARIES = ("numpy", "pandas", "scipy")


@cache
def referee() -> str:
    """Digest of the code and the tables that make scores and spreads, and of what they compute with."""
    found = hashlib.sha256(" ".join(version(library) for library in LIBRARIES).encode())
    for path in sorted([*ANALYSIS.glob("*.py"), *ANALYSIS.glob("reported/*")]):
        if path.is_file():
            found.update(f"{path.name}\n".encode() + path.read_bytes())
    return found.hexdigest()


@dataclass(frozen=True)
class Known:
    """Runs that exist, scored, and where they are for the reader."""

    plan: "FrozenPlan"
    scored: "pd.DataFrame"
    where: str


@dataclass(frozen=True)
class Knowledge:
    """What is known of the claims of a plan. Args: done: directories of its finished runs; code: of `referee`."""

    store: Path
    pilot: Path
    plan: "FrozenPlan"
    done: frozenset[str]
    code: str
    _spreads: "dict[str, Spread | None]" = field(default_factory=dict)

    @cached_property
    def runs(self) -> list[Known]:
        """The finished runs of the store, and a pilot's."""
        return [*self._in_store(), *self._in_pilot()]

    def spread(self, claim: "Claim", tasks: list[str]) -> "Spread | None":
        """Of a claim on these tasks, from where the most seeds are; of equals the first. None: nothing is known."""
        if not tasks or claim.direction == "every_below":
            return None
        if (key := json.dumps([asdict(claim), tasks])) not in self._spreads:
            if key in self._kept:
                self._spreads[key] = self._kept[key]
            else:
                from analysis.power import spread

                each = (spread(claim, tasks, known.scored, known.plan, known.where) for known in self.runs)
                self._spreads[key] = max(filter(None, each), key=lambda one: one.n, default=None)
        return self._spreads[key]

    def keep(self) -> None:
        """Write down what was found, where the store exists and may be written; in place of what was true before."""
        if self._spreads.keys() <= self._kept.keys() or not self.store.is_dir():
            return
        both = self._kept | self._spreads
        self._write("json", json.dumps({key: one and asdict(one) for key, one in both.items()}))

    @cached_property
    def _kept(self) -> "dict[str, Spread | None]":
        from analysis.power import Spread

        with contextlib.suppress(OSError, ValueError, TypeError, AttributeError):
            kept = json.loads(self._path("json").read_text())
            return {key: one and Spread(**one) for key, one in kept.items()}
        return {}

    def _in_store(self) -> list[Known]:
        if not self.done:
            return []
        import pandas as pd

        if (path := self._path("csv")).is_file():
            return [Known(self.plan, pd.read_csv(path), "store")]
        from analysis.load import load_store
        from analysis.scores import run_curves, score_runs

        loaded = load_store(self.store, self.plan)
        scored = score_runs(loaded, run_curves(loaded))
        self._write("csv", scored.to_csv(index=False))
        return [Known(self.plan, scored, "store")]

    def _in_pilot(self) -> list[Known]:
        """The packed runs of the check at the same scale, else at the largest there is."""
        if (found := self._pilot_folder) is None:
            return []
        from analysis import archive
        from analysis.plan import read_plan

        folder, scale = found
        plan = read_plan(self.pilot, self.plan.name, scale)
        where = self.pilot.name if scale == self.plan.scale else f"{self.pilot.name} {scale}"
        return [Known(plan, archive.read_runs(folder, plan), where)]

    @cached_property
    def _pilot_folder(self) -> tuple[Path, str] | None:
        from analysis.plan import archive_folder, is_archive, planned

        scales = planned(self.pilot).get(self.plan.name, []) if is_archive(self.pilot) else []
        if not scales:
            return None
        scale = self.plan.scale if self.plan.scale in scales else scales[-1]
        return archive_folder(self.pilot, self.plan.name, scale), scale

    @cached_property
    def _of_runs(self) -> str:
        """A run's directory says what its numbers are, once it is done."""
        runs = [(run.arm, run.task, run.seed, run.run_dir, run.run_dir in self.done) for run in self.plan.runs]
        asked = repr(replace(self.plan, runs=()))  # claims, and what scores are reckoned by
        return _digest(self.code, runs, asked)

    @cached_property
    def _of_pilot(self) -> str:
        files = sorted(self._pilot_folder[0].iterdir()) if self._pilot_folder else []
        seen = [(path.name, (stat := path.stat()).st_size, stat.st_mtime_ns) for path in files]
        return _digest(self._of_runs, self.pilot.name, seen)

    def _path(self, ending: str) -> Path:
        digest = self._of_runs if ending == "csv" else self._of_pilot
        return self.store / KEPT / f"{self.plan.name}-{self.plan.scale}-{digest}.{ending}"

    def _write(self, ending: str, content: str) -> None:
        path = self._path(ending)
        with contextlib.suppress(OSError):  # a store that may only be read
            for old in path.parent.glob(f"{self.plan.name}-{self.plan.scale}-*.{ending}"):
                old.unlink()
            write_atomically(path, content)


def _digest(*parts: Any) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]
