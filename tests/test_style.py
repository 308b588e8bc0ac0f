"""The house rules that a machine can check."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SOURCES = sorted([*ROOT.glob("bench/**/*.py"), *ROOT.glob("analysis/**/*.py")])
TAGGED = [path for path in SOURCES if re.search(r"^[A-Z]1  ", path.read_text(), re.M)]


def unmatched_tags(text: str) -> set[str]:
    """Choices that are numbered in the docstring and made nowhere, or tagged and not explained."""
    _, docstring, code = text.split('"""', 2)
    declared = set(re.findall(r"^([A-Z]\d+) +", docstring, re.M))
    made = {tag for comment in re.findall(r"#.*", code) for tag in re.findall(r"\b[A-Z]\d+\b", comment)}
    return declared ^ (made & {tag for tag in made if tag[0] in {d[0] for d in declared}})


@pytest.mark.parametrize("path", TAGGED, ids=lambda p: p.name)
def test_every_numbered_choice_is_tagged_where_it_is_made(path):
    assert unmatched_tags(path.read_text()) == set()


def test_a_tag_without_a_choice_is_found():
    assert unmatched_tags('"""X.\n\nD1  one\nD2  two\n"""\na = 1  # D1\nb = 2  # D3\n') == {"D2", "D3"}


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_files_stay_short(path):
    assert len(path.read_text().splitlines()) <= 350


@pytest.mark.parametrize("path", sorted(ROOT.glob("conf/**/*.yaml")), ids=lambda p: str(p.relative_to(ROOT)))
def test_configuration_names_no_target(path):
    assert "_target_" not in path.read_text()


def test_no_two_test_files_share_a_name():
    names = [path.name for path in ROOT.glob("tests/**/test_*.py")]  # pytest would import the first for both
    assert sorted(names) == sorted(set(names))
