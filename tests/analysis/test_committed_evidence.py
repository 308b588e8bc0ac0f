"""What is committed under results/: every verdict follows from the archive beside it."""

import json
from pathlib import Path
from typing import Any

import pytest

from analysis import evidence, tables
from analysis.study import analyse

RESULTS = Path(__file__).resolve().parents[2] / "results"
FOLDERS = sorted(path.name for path in RESULTS.glob("*-*") if path.is_dir())


def numbers_and_words(value: Any, path: str = "") -> dict[str, Any]:
    """Flat: path -> leaf."""
    if isinstance(value, dict):
        return {k: v for name, item in value.items() for k, v in numbers_and_words(item, f"{path}.{name}").items()}
    if isinstance(value, list):
        return {k: v for i, item in enumerate(value) for k, v in numbers_and_words(item, f"{path}[{i}]").items()}
    return {path: value}


def test_every_check_has_evidence() -> None:
    checks = {path.stem for path in (RESULTS.parent / "conf" / "check").glob("*.yaml")}
    assert {name.rsplit("-", 1)[0] for name in FOLDERS} == checks


@pytest.mark.parametrize("folder", FOLDERS)
def test_committed_verdicts_follow_from_the_committed_runs(folder: str) -> None:
    check, scale = folder.rsplit("-", 1)
    found = numbers_and_words(json.loads(tables.verdicts_json(analyse(RESULTS, check, scale))))
    stated = numbers_and_words(json.loads((RESULTS / folder / "verdicts.json").read_text()))
    assert found.keys() == stated.keys()
    for path, value in stated.items():
        # Words hold rounded numbers; last bits of numbers differ between machines.
        close = pytest.approx(value, rel=1e-6, abs=1e-12) if isinstance(value, float) else value
        assert found[path] == close, path


def test_the_overview_is_the_one_that_the_verdicts_give() -> None:
    assert (RESULTS / "README.md").read_text() == evidence.overview(RESULTS)
