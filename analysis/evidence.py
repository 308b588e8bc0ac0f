"""Packing results and confirming them: the commands archive and confirm."""

from dataclasses import dataclass
from pathlib import Path

from analysis import archive, tables
from analysis.cells import claim_tasks, named_arms
from analysis.load import count_states, load_store, run_records
from analysis.plan import archive_folder, is_archive, read_plan
from analysis.scores import METRICS
from analysis.study import Study, analyse, judge_store
from analysis.words import interval_text, markdown, number
from bench.errors import UserError
from bench.files import write_atomically


def pack(store: Path, check: str, scale: str, results: Path, *, partial: bool = False) -> list[Path]:
    """Pack what the planned runs of a check left into `results/<check>-<scale>/`; its verdicts come from the pack.

    UserError where planned runs are unfinished, unless `partial`, and where there is no such plan or store.
    """
    if is_archive(store):
        raise UserError(f"{store} holds packed results; archive packs the runs of a store")
    plan = read_plan(store, check, scale)
    raw = archive.read_json(store / "checks" / check / f"{scale}.json")
    loaded = load_store(store, plan)
    counts = count_states(loaded.runs)
    if counts["done"] < counts["planned"] and not partial:
        lost = ", ".join(f"{counts[state]} {state}" for state in ("failed", "running", "missing") if counts[state])
        raise UserError(f"{check} at scale {scale} has runs that are not done ({lost}); finish them, or say --partial")
    folder = archive_folder(results, check, scale)
    written = archive.write_data(folder, raw, plan, loaded)
    # What is judged is what was written, digit for digit.
    study = judge_store(results, results, plan, archive.read_store(folder, plan, loaded.runs))
    written.append(archive.write_runs(folder, study.scored))
    return written + [write_atomically(path, text) for path, text in _verdict_files(folder, study).items()]


def _verdict_files(folder: Path, study: Study) -> dict[Path, str]:
    """verdicts.json last: a killed command leaves none that its data do not give."""
    return {folder / "table.md": tables.table_markdown(study), folder / "verdicts.json": tables.verdicts_json(study)}


def judged_anew(results: Path, check: str, scale: str) -> tuple[dict[Path, str], int]:
    """What a pack's own data, which stay as they are, give now: path -> content, and how many verdicts are others.

    UserError for a folder that is no pack, and for one whose runs.csv is not what its games and metrics give.
    """
    if not is_archive(results):
        raise UserError(f"{results} holds no packed results to judge anew; store=DIR packs those of a store")
    folder = archive_folder(results, check, scale)
    path = folder / "verdicts.json"
    before = _stated(path) if path.is_file() else {}
    study = analyse(results, check, scale, results)
    return _verdict_files(folder, study), sum(before.get(v.id) != v.verdict for v in study.verdicts)


def overview(results: Path) -> str:
    """The claims of all packed checks as one Markdown page, from their verdicts.json; `results/README.md` is this text.

    UserError where a verdicts.json cannot be read.
    """
    packs = [archive.read_json(path, ("claims",)) for path in sorted(results.glob("*/verdicts.json"))]
    rows, waiting = [], []
    for pack in packs:
        name = f"[{pack['check']}]({pack['check']}-{pack['scale']}/table.md)"
        for claim in pack["claims"]:
            if claim["verdict"] == "not run":
                waiting.append(f"* {pack['check']}, {claim['id']}: {claim['statement']}")
                continue
            shown = f"{number(claim['estimate'], 3)} {interval_text(claim['interval'])}"
            unit = (
                f"{claim['direction'].replace('_', ' ')} {number(claim['margin'], 3)}, {METRICS[claim['metric']].label}"
            )
            rows.append([name, claim["statement"], claim["verdict"], shown, unit, str(claim["n"])])
    parts = [
        "# Claims decided so far",
        "Made by `python -m analysis archive check=all store=store scale=cpu results=results`; do not edit. Each "
        "folder holds the runs' numbers (runs.csv), games, metrics, configurations and origins, from which "
        "`python -m analysis report check=all results=results` makes verdicts, figures and reports again. n: seeds "
        "per task.",
        markdown(["check", "claim", "verdict", "A - B [interval]", "margin and metric", "n"], rows),
        "## Not run: they need a larger scale",
        "\n".join(waiting) or "None.",
    ]
    return "\n\n".join(parts) + "\n"


@dataclass(frozen=True)
class Confirmation:
    """A claim judged anew beside its packed verdict."""

    check: str
    claim: str
    now: str
    archived: str
    stated: str  # in verdicts.json; differs from `archived` only if a file of the pack was edited
    agreeing: int  # runs of the claim with the packed parameters' hash
    runs: int

    @property
    def same(self) -> bool:
        """The verdict stands, and the pack says what its own data say."""
        return self.now == self.archived == self.stated

    @property
    def line(self) -> str:
        """For the terminal."""
        said = self.archived if self.archived == self.stated else f"{self.archived}, verdicts.json says {self.stated}"
        return (
            f"{self.check}  {self.claim}: now {self.now}, archived {said}: {'same' if self.same else 'DIFFERENT'}; "
            f"params_sha256 agree in {self.agreeing} of {self.runs} runs"
        )


def _stated(path: Path) -> dict[str, str]:
    """Claim -> verdict, as verdicts.json says."""
    claims = archive.read_json(path, ("claims",))["claims"]
    try:
        return {claim["id"]: claim["verdict"] for claim in claims}
    except (KeyError, TypeError) as error:
        raise UserError(f"{path} holds a claim without its id or verdict") from error


def _hashes(study: Study) -> dict[tuple[str, str, int], str]:
    return {key: str(run["params_sha256"] or "") for key, run in run_records(study.store.runs)}


def confirm(store: Path, check: str, scale: str, results: Path) -> list[Confirmation]:
    """Every claim of a check, judged from the store and from the packed results; claims of either side alone differ.

    UserError for what is not there or cannot be read: a killed `archive` leaves no verdicts.json.
    """
    said = _stated(archive_folder(results, check, scale) / "verdicts.json")
    now, before = analyse(store, check, scale), analyse(results, check, scale)
    old, new = ({verdict.id: verdict for verdict in study.verdicts} for study in (before, now))
    ours, theirs = _hashes(now), _hashes(before)
    rows = []
    for claim in sorted(old.keys() | new.keys() | said.keys()):
        behind = [key for key in ours if claim in new and _is_about(now, claim, key)]
        agreeing = sum(bool(ours[key]) and ours[key] == theirs.get(key) for key in behind)
        judged, packed = (side[claim].verdict if claim in side else "absent" for side in (new, old))
        rows.append(Confirmation(check, claim, judged, packed, said.get(claim, "absent"), agreeing, len(behind)))
    return rows


def _is_about(study: Study, claim_id: str, key: tuple[str, str, int]) -> bool:
    """True for the runs of the claim's arms (candidates included) on its tasks."""
    claim = next(claim for claim in study.plan.claims if claim.id == claim_id)
    return key[0] in named_arms(claim, study.plan) and key[1] in claim_tasks(claim, study.plan)
