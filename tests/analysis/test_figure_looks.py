"""Colours, lines and marks: one look per algorithm, told apart in grey and by the colour-blind."""

import itertools
from pathlib import Path

import numpy as np
import pytest
import yaml
from matplotlib.colors import to_rgb

import bench
from analysis import checks
from analysis.figures import style
from analysis.figures.style import LOOKS, SERIES, Look

CONF = Path(next(iter(bench.__path__))).parent / "conf" / "check"
# Deuteranopia, severity 1, on linear RGB. Source: Machado, Oliveira, Fernandes 2009, table 1.
DEUTERANOPIA = np.array(
    [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
)
TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
WHITE = TO_XYZ.sum(axis=1)
GREY = np.tile(TO_XYZ[1], (3, 1))  # luminance alone
LEAST = 20.0  # of CIE76 between two colours that nothing else tells apart; 2.3 is just noticeable
FIRST = ("ppo", "da_full", "da_1step", "da_3step", "da_full_cd1")
LIGHTER = 15.0  # of L* (0 black, 100 white) between grey colours that nothing else tells apart
VISIBLE = 20.0  # of L* below white paper


def linear(color: str) -> np.ndarray:
    """sRGB decoded."""
    rgb = np.array(to_rgb(color))
    return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)


def lab(rgb: np.ndarray) -> np.ndarray:
    """CIE L*a*b* of linear sRGB, white D65."""
    share = TO_XYZ @ np.clip(rgb, 0, 1) / WHITE
    f = np.where(share > (6 / 29) ** 3, np.cbrt(share), share / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def seen(color: str, matrix: np.ndarray | None = None) -> np.ndarray:
    """L*a*b* of a colour, to a viewer whose cones mix it as the matrix says."""
    return lab(linear(color) if matrix is None else matrix @ linear(color))


def check_arms() -> dict[str, list[str]]:
    """Every check's arms, as its YAML declares them."""
    found = {}
    for name in checks.names():
        found[name] = list(yaml.safe_load((CONF / f"{name}.yaml").read_text())["arms"])
    return found


CHECKS = check_arms()


def told_apart(a: Look, b: Look, matrix: np.ndarray | None = None) -> bool:
    """Do two looks differ in marker and line, or in marker or line and enough in colour?"""
    kinds = (a.marker != b.marker) + (a.line != b.line)
    far = float(np.linalg.norm(seen(a.color, matrix) - seen(b.color, matrix))) >= LEAST
    return kinds == 2 or (kinds == 1 and far)


def test_lightness_and_deuteranopia_are_what_is_published() -> None:
    assert seen("#ffffff")[0] == pytest.approx(100, abs=0.01)
    assert seen("#777777")[0] == pytest.approx(50.0, abs=0.1)
    assert DEUTERANOPIA.sum(axis=1) == pytest.approx([1, 1, 1], abs=1e-3)  # grey stays grey
    red_and_green = [seen(color, DEUTERANOPIA) for color in ("#ff0000", "#806000")]
    assert abs(red_and_green[0][1] - red_and_green[1][1]) < 25 < abs(seen("#ff0000")[1] - seen("#806000")[1])


EVERY = {**LOOKS, **{f"series {i}": look for i, look in enumerate(SERIES)}}


@pytest.mark.parametrize("matrix", [None, DEUTERANOPIA, GREY], ids=["usual", "deuteranopia", "grey"])
def test_two_looks_are_told_apart_by_everyone_and_on_a_grey_print(matrix: np.ndarray | None) -> None:
    pairs = itertools.combinations(EVERY, 2)
    assert [(a, b) for a, b in pairs if not told_apart(EVERY[a], EVERY[b], matrix)] == []


def test_looks_that_differ_in_colour_alone_would_be_caught() -> None:
    red, green = Look("#C0504D", "-", "o"), Look("#7C8A2D", "-", "o")
    assert not told_apart(red, green)
    assert not told_apart(red, Look("#C0524D", "--", "o"))


@pytest.mark.parametrize(("a", "b"), list(itertools.combinations(FIRST, 2)))
def test_the_arms_that_are_compared_most_differ_in_grey_or_in_mark_and_line(a: str, b: str) -> None:
    lighter = abs(seen(LOOKS[a].color)[0] - seen(LOOKS[b].color)[0]) >= LIGHTER
    assert lighter or (LOOKS[a].marker != LOOKS[b].marker and LOOKS[a].line != LOOKS[b].line)


def test_every_colour_is_seen_on_paper() -> None:
    colors = [look.color for look in (*LOOKS.values(), *SERIES)]
    assert min(100 - seen(color)[0] for color in colors) > VISIBLE


def test_no_two_algorithms_and_no_other_series_share_a_colour() -> None:
    colors = [look.color for look in (*LOOKS.values(), *SERIES)]
    assert len(set(colors)) == len(colors)
    assert style.PAPER not in colors


@pytest.mark.parametrize("check", CHECKS)
def test_no_two_arms_of_a_check_look_the_same(check: str) -> None:
    arms = CHECKS[check]
    looks = [style.look(arm, arms) for arm in arms]
    assert len({(look.color, look.line, look.marker) for look in looks}) == len(arms)


def test_an_algorithm_has_one_colour_in_every_check() -> None:
    """A variant is a paler shade of it, with its mark; the plain algorithm has the colour itself."""
    for arms in CHECKS.values():
        for arm in arms:
            kin = style.family(arm)
            if kin is None:
                assert style.look(arm, arms).color not in {look.color for look in LOOKS.values()}
                continue
            assert style.look(arm, arms).marker == LOOKS[kin].marker
            if arm == kin or arm in style.PLAIN:
                assert style.look(arm, arms) == LOOKS[kin]


def test_the_arms_that_the_checks_compare_are_of_the_algorithms_that_they_run() -> None:
    """By what the checks' YAML says of them: algo=ppo is PPO, also where the arm has another name."""
    expected = {"ppo": "ppo", "dpo_ppo": "dpo_ppo", "da_full": "da_full", "ppo_m10": "ppo", "da_1step_m10": "da_1step"}
    expected |= {"e0.5": "da_full", "e0.01_c1.0": "da_full", "ent0.1": "ppo_entropy", "n3": "dpo_ppo", "a0": "dpo_ppo"}
    expected |= {"dpo_ppo_sparse": "dpo_ppo", "ppo_reuse7": "ppo", "da_full_cd1": "da_full_cd1", "a2c": "a2c"}
    assert {arm: style.family(arm) for arm in expected} == expected
    assert [style.family(arm) for arm in ("entropy", "none", "no_clamp", "f000", "tv", "exact")] == [None] * 6


def test_a_second_turn_through_the_series_has_other_marks() -> None:
    looks = [style.series(i) for i in range(2 * len(SERIES))]
    assert len({(look.color, look.line, look.marker) for look in looks}) == len(looks)
    for i in range(len(SERIES)):
        assert looks[i].marker != looks[i + len(SERIES)].marker
