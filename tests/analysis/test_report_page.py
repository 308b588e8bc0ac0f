"""The report page as text: all that it must hold, nothing that it must not; the browser's part is in tests/browser."""

import contextlib
import html
import re
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest
import report_store
import synthetic as synth

from analysis import __main__ as cli
from analysis import report_claims, report_deviations, report_figures, report_runs
from analysis.measure import VERDICTS, Verdict
from analysis.study import analyse

VOID = {"meta", "input", "img", "br", "hr", "link", "rect", "line", "circle"}


class Page(HTMLParser):
    """What is on the page: tags that do not close, identifiers, links, resources, attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text, self.open, self.wrong = text, [], []
        self.ids, self.links, self.resources, self.attributes, self.scripts = [], [], [], Counter(), 0
        self.cards: list[dict[str, str]] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        if tag not in VOID:
            self.open.append(tag)
        self.scripts += tag == "script"
        self.attributes.update(list(found))
        self.ids += [found["id"]] if "id" in found else []
        self.links += [found["href"]] if "href" in found else []
        self.resources += [found[name] for name in ("src", "srcset", "data", "action", "poster") if name in found]
        if "card" in found.get("class", "").split():
            self.cards.append(found)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.wrong.append(tag)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = report_store.write_store(tmp_path_factory.mktemp("store"))
    with (path / "printed.txt").open("w") as printed, contextlib.redirect_stdout(printed):
        assert cli.main(["report", f"store={path}"]) == 0
    return path


@pytest.fixture(scope="module")
def page(root: Path) -> Page:
    return Page((root / "analysis" / "report.html").read_text())


def visible(page: Page) -> str:
    """The text of the page, without its script, style and pictures."""
    bare = re.sub(r"<(script|style)>.*?</\1>", "", page.text, flags=re.DOTALL)
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", bare)).split())


def test_every_tag_closes_and_every_identifier_is_its_own(page: Page) -> None:
    assert page.wrong == []
    assert page.open == []
    assert [name for name, count in Counter(page.ids).items() if count > 1] == []


def test_every_link_leads_to_something_on_the_page(page: Page) -> None:
    assert len(page.links) > 30
    assert [link for link in page.links if not link.startswith("#") or link[1:] not in page.ids] == []


def test_the_page_fetches_nothing_and_runs_no_script_but_its_own(page: Page) -> None:
    assert page.resources
    assert [source[:30] for source in page.resources if not source.startswith("data:image/")] == []
    assert "http:" not in re.sub(r'src="data:[^"]*"', "", page.text)
    assert "https:" not in re.sub(r'src="data:[^"]*"', "", page.text)
    assert page.scripts == 1
    assert [name for name in page.attributes if name.startswith("on") or name == "style"] == []
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page.text)
    assert policy is not None
    assert "default-src 'none'" in policy[1]
    assert "unsafe" not in policy[1]


def test_hostile_text_is_shown_as_text(page: Page) -> None:
    assert report_store.HOSTILE in visible(page)
    assert report_store.BOOM in visible(page)
    assert "<img src=x" not in page.text
    assert "last line of the log" in page.text


def test_the_page_holds_every_claim_and_counts_their_verdicts(root: Path, page: Page) -> None:
    verdicts = [v for pair in (("multi_step", "gpu"), ("eta_curve", "cpu")) for v in analyse(root, *pair).verdicts]
    assert [v.statement for v in verdicts if v.statement not in visible(page)] == []
    shown = Counter(card["data-verdict"] for card in page.cards)
    assert shown == Counter(v.verdict for v in verdicts)
    assert {"supported", "refuted", "not run"} <= set(shown)
    for name in VERDICTS:
        assert re.search(rf'data-verdict="{name}".*<b>{shown[name]}</b>', page.text)


def test_a_claim_names_its_paper_and_how_it_was_frozen(page: Page) -> None:
    papers = {card["id"]: card["data-paper"] for card in page.cards}
    assert papers["claim/multi_step/auc"] == "DAPO"
    assert papers["claim/eta_curve/wins"] == "DPO"
    assert papers["claim/eta_curve/loses"] == "this project"
    assert {card["data-registration"] for card in page.cards} == {report_claims.UNREGISTERED}


def test_lost_runs_are_named_one_by_one_with_their_errors(page: Page) -> None:
    assert {"run/multi_step/da_full/Qbert/1", "run/multi_step/da_full/Qbert/2"} <= set(page.ids)
    assert "6 planned: 4 done, 1 failed, 0 running, 1 missing" in visible(page)
    assert "The store has no directory of this run." in visible(page)


def test_deviations_name_field_ours_and_theirs(root: Path) -> None:
    found = report_deviations.deviations(analyse(root, "multi_step", "gpu"))
    said = {row.field: (row.ours, row.theirs, row.where) for row in found.rows}
    assert said["agent steps of a run"] == ("10,000", "57,960,000", "all runs")
    assert said["runs per arm and game"] == ("3", "5", "all runs")
    assert set(said) == {"agent steps of a run", "runs per arm and game"}  # the configurations are the paper's


def test_a_changed_setting_is_a_deviation_of_the_arm_that_has_it(tmp_path: Path) -> None:
    plan = synth.make_plan(["ppo", "da_full"], ["Qbert"], 2, [synth.claim()])
    synth.write_plan(tmp_path, plan)
    for run in plan["runs"]:
        changed = {"algo.clip": 0.1} if run["arm"] == "ppo" else None
        synth.write_run(tmp_path, run, [(500, 1.0)], config_changes=changed)
    rows = report_deviations.deviations(analyse(tmp_path, "multi_step", "gpu")).rows
    assert [(row.ours, row.theirs, row.where) for row in rows if row.field == "algo.clip"] == [
        ("0.1", "0.2", "arm ppo")
    ]


def test_runs_of_one_origin_share_its_entry(page: Page) -> None:
    assert [name for name in page.ids if name.startswith("origin/")] == ["origin/1"]
    assert "c0ffee" in visible(page)
    assert "torch 2.13.0" in visible(page)
    assert page.links.count("#origin/1") >= 14


def test_many_runs_share_lines_and_lost_ones_do_not(root: Path, page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    study = analyse(root, "multi_step", "gpu")
    single = report_runs.arm_runs(study, ("score",), {}, {})
    assert [row.seeds for arm in single for row in arm.rows] == ["0", "1", "2"] * 2
    monkeypatch.setattr(report_runs, "SINGLE_ROWS", 5)
    ppo, full = report_runs.arm_runs(study, ("score",), {}, {})
    assert [(row.seeds, row.state) for row in ppo.rows] == [("0–2", "3 done")]
    assert [(row.seeds, row.state) for row in full.rows] == [("0", "1 done"), ("1", "failed"), ("2", "missing")]
    assert ppo.rows[0].values == ["961 ± 1"]  # games of 9 200 to 10 000 steps: 960 + seed


def test_equal_stores_give_equal_bytes(root: Path, tmp_path: Path) -> None:
    assert cli.main(["report", f"store={root}", f"out={tmp_path}"]) == 0
    assert (tmp_path / "report.html").read_bytes() == (root / "analysis" / "report.html").read_bytes()


def test_no_path_of_the_machine_is_on_the_page(root: Path, page: Page) -> None:
    assert str(root.parent) not in page.text
    assert "/somewhere" not in page.text


def _verdict(direction: str, margin: float, estimate: float | None, interval: list[float] | None) -> Verdict:
    return Verdict(
        id="x", statement="", source="", contrast=["a", "b"], metric="auc", unit="", direction=direction, margin=margin,
        alpha=0.05, min_budget=0, budget_fraction=None, estimate=estimate, interval=interval,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("direction", "inside", "outside"),
    [("greater", 0.2, 0.0), ("less", -0.2, 0.0), ("equal", 0.05, 0.2), ("every_below", 0.0, 0.2)],
)
def test_the_strip_puts_a_value_into_the_shade_where_the_claim_holds(
    direction: str, inside: float, outside: float
) -> None:
    for value, holds in ((inside, True), (outside, False)):
        drawn = report_claims.strip(_verdict(direction, 0.1, value, [value - 0.01, value + 0.01]))
        assert drawn is not None
        low, high = drawn.zone
        assert (low < drawn.estimate < high) == holds
        assert drawn.interval is not None
        assert drawn.interval[0] < drawn.estimate < drawn.interval[1]


def test_without_an_estimate_or_with_an_endless_interval_there_is_no_strip() -> None:
    assert report_claims.strip(_verdict("greater", 0.1, None, None)) is None
    assert report_claims.strip(_verdict("greater", 0.1, 0.2, [0.1, float("inf")])) is None


def test_a_claim_is_led_to_figures_of_its_metric_then_to_curves_of_its_tasks() -> None:
    stems = ["Qbert", "Qbert_evaluation", "Enduro", "bars_auc", "bars_eval_auc"]
    assert report_claims.figures_of("auc", ["Qbert"], stems) == ["bars_auc", "Qbert", "Qbert_evaluation"]
    assert report_claims.figures_of("eval_auc", [], stems) == ["bars_eval_auc"]
    assert report_claims.figures_of("entropy", ["Qbert"], stems) == ["Qbert"]  # none shows it: the first


def test_cost_is_threads_times_time_and_steps_by_what_they_count() -> None:
    runs = pd.DataFrame({"wall_s": [1800.0, None], "step": [100, None], "clock": ["agent steps", "updates"]})
    assert report_claims.cost_text(runs, 2) == "1 CPU hours, 100 agent steps"


def test_anchors_of_different_texts_differ() -> None:
    assert report_claims.anchor("runs", "a b", "c/d") == "runs/a~20b/c~2fd"
    assert report_claims.anchor("a/b") != report_claims.anchor("a", "b")


def test_a_slim_figure_keeps_its_shape_and_its_transforms() -> None:
    svg = '<?xml ?>\n<svg><!-- x -->\n <path d="M 1.2345 2 \nL 3.99 4"/><g transform="scale(0.015)"/></svg>'
    assert report_figures.slim(svg) == '<svg> <path d="M 1.23 2 L 3.99 4"/><g transform="scale(0.015)"/></svg>'


def test_a_manifest_is_told_from_another_by_more_than_its_run() -> None:
    one = {"commit": "a", "versions": {"torch": "1"}, "command": "python seed=SEED task=x"}
    assert report_runs.origin_of(one) == report_runs.origin_of(one | {"command": "another"})
    assert report_runs.origin_of(one) != report_runs.origin_of(one | {"commit": "b"})
