"""The report page as text: all that it must hold, nothing that it must not; the browser's part is in tests/browser."""

import contextlib
import html
import re
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import pytest
import report_store
import synthetic as synth

from analysis import __main__ as cli
from analysis import provenance, report_claims, report_deviations, report_figures, report_runs
from analysis.figures import Drawn
from analysis.measure import VERDICTS
from analysis.report_claims import Behind
from analysis.study import analyse
from bench import registration

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


def card_text(page: Page, name: str) -> str:
    """The words of one card."""
    found = re.search(rf'<article [^>]*id="{name}".*?</article>', page.text, re.DOTALL)
    assert found is not None
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", found[0])).split())


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
    states = {card["id"]: card["data-registration"] for card in page.cards}
    assert states["claim/multi_step/auc"] == report_claims.UNREGISTERED
    assert states["claim/eta_curve/alike"] == "registered"


def test_a_registered_claim_shows_its_hash_and_time_and_others_none(page: Page) -> None:
    (alike,) = [claim for claim in report_store.SMALL if claim["id"] == "alike"]
    hashed = registration.sha256(alike)[:12]
    assert f"registered sha256 {hashed}, {report_store.REGISTERED_AT}" in card_text(page, "claim/eta_curve/alike")
    assert "sha256" not in card_text(page, "claim/multi_step/auc")


def test_a_claim_shows_the_section_and_the_protocol_that_it_states(page: Page) -> None:
    text = card_text(page, "claim/eta_curve/alike")
    assert "Ma 2023 (DPO, Section 5.1)" in text
    assert "Protocol training games" in text
    assert "Protocol" not in card_text(page, "claim/eta_curve/wins")


def test_lost_runs_are_named_one_by_one_with_their_errors(page: Page) -> None:
    assert {"run/multi_step/da_full/Qbert/1", "run/multi_step/da_full/Qbert/2"} <= set(page.ids)
    assert "6 planned: 4 done, 1 failed, 0 running, 1 missing" in visible(page)
    assert "The store has no directory of this run." in visible(page)
    assert "20 planned: 20 done (2 without a score), 0 failed, 0 running, 0 missing" in visible(page)


def test_the_head_counts_lost_runs_by_what_became_of_them(page: Page) -> None:
    assert "1 failed, 1 missing, 2 done without a score." in visible(page)
    assert "lost, unfinished or without a score." not in visible(page)


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


def test_a_figure_is_of_the_runs_that_its_record_names_and_without_one_of_all(root: Path) -> None:
    study = analyse(root, "eta_curve", "cpu")
    path = root / "analysis" / "eta_curve-cpu" / "figures" / "CartPole-v1.why.json"
    recorded = report_figures.behind(study, Drawn("CartPole-v1", "", {provenance.SUFFIX: path}))
    assert recorded == Behind("CartPole-v1", ["ppo", "da_full"], ["CartPole-v1"])
    assert report_figures.behind(study, Drawn("x", "", {})).tasks == ["CartPole-v1", report_store.SILENT]


def test_a_figure_has_a_number_its_runs_and_the_claims_that_use_it(page: Page) -> None:
    (said,) = re.findall(r'<figure id="figure/eta_curve/CartPole-v1">.*?</figure>', page.text, re.DOTALL)
    said = html.unescape(re.sub(r'src="[^"]*"', "", said))
    assert re.search(r"<b>Figure \d+, <code>CartPole-v1</code>:</b>", said)
    assert re.search(r'href="#runs/eta_curve" data-arms="\["ppo", "da_full"\]" data-tasks="\["CartPole-v1"\]"', said)
    assert ">Its 10 runs</a>" in said
    assert re.findall(r'href="#(claim[^"]*)"', said) == [
        f"claim/eta_curve/{name}" for name in ("alike", "loses", "wins")
    ]


def test_figures_are_numbered_through_the_page(page: Page) -> None:
    numbers = [int(number) for number in re.findall(r"<b>Figure (\d+),", page.text)]
    assert numbers == list(range(1, len(numbers) + 1))
    assert len(numbers) > 3


def test_no_test_is_said_where_there_was_none(page: Page) -> None:
    assert "p, Holm – no test" in card_text(page, "claim/multi_step/not_planned")
    assert "no test" not in card_text(page, "claim/eta_curve/wins")


def test_a_slim_figure_keeps_its_shape_and_its_transforms() -> None:
    svg = '<?xml ?>\n<svg><!-- x -->\n <path d="M 1.2345 2 \nL 3.99 4"/><g transform="scale(0.015)"/></svg>'
    assert report_figures.slim(svg) == '<svg> <path d="M 1.23 2 L 3.99 4"/><g transform="scale(0.015)"/></svg>'


def test_a_manifest_is_told_from_another_by_more_than_its_run() -> None:
    one = {"commit": "a", "versions": {"torch": "1"}, "command": "python seed=SEED task=x"}
    assert report_runs.origin_of(one) == report_runs.origin_of(one | {"command": "another"})
    assert report_runs.origin_of(one) != report_runs.origin_of(one | {"commit": "b"})
