"""The report page as a reader uses it: filters, links from a claim to its evidence, phone, dark, paper, no network."""

import base64
import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.browser

Visit = Callable[..., Any]


def shown(driver: Any, selector: str, attribute: str = "id") -> list[str]:
    """The attribute of every element of the selector that takes space on the screen."""
    script = """return [...document.querySelectorAll(arguments[0])].filter(e => e.checkVisibility())
        .map(e => e.getAttribute(arguments[1]))"""
    found: list[str] = driver.execute_script(script, selector, attribute)
    return found


def click(driver: Any, selector: str) -> None:
    driver.find_element("css selector", selector).click()


def choose(driver: Any, name: str, value: str) -> None:
    from selenium.webdriver.support.ui import Select

    Select(driver.find_element("name", name)).select_by_value(value)


def in_view(driver: Any, identifier: str) -> bool:
    """Is the top of the element on the screen?"""
    script = """const r = document.getElementById(arguments[0]).getBoundingClientRect();
        return r.height > 0 && r.top >= -1 && r.top < innerHeight"""
    return bool(driver.execute_script(script, identifier))


def overflow(driver: Any) -> int:
    """Pixels that the page is wider than its window."""
    return int(driver.execute_script("return document.scrollingElement.scrollWidth - innerWidth"))


def fragment(driver: Any) -> str:
    return str(driver.execute_script("return location.hash"))


def requests(driver: Any) -> list[str]:
    """Addresses that the page asked for since it was opened, other than its own data."""
    events = [json.loads(entry["message"])["message"] for entry in driver.get_log("performance")]
    urls = [event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"]
    return [url for url in urls if not url.startswith(("data:", "about:"))]


def test_every_claim_is_shown_at_first(visit: Visit) -> None:
    driver = visit()
    assert len(shown(driver, ".card")) == 6
    assert driver.find_element("id", "shown").text == "all 6 claims"


@pytest.mark.parametrize("verdict", ["supported", "refuted", "not run"])
def test_a_verdict_filter_shows_exactly_its_claims(visit: Visit, verdict: str) -> None:
    driver = visit()
    expected = shown(driver, f'.card[data-verdict="{verdict}"]')
    click(driver, f'button[data-verdict="{verdict}"]')
    assert shown(driver, ".card") == expected != []
    assert driver.find_element("id", "shown").text == f"{len(expected)} of 6 claims"
    click(driver, f'button[data-verdict="{verdict}"]')
    assert len(shown(driver, ".card")) == 6


def test_two_verdicts_add_up_and_other_filters_narrow(visit: Visit) -> None:
    driver = visit()
    click(driver, 'button[data-verdict="supported"]')
    click(driver, 'button[data-verdict="not run"]')
    assert "claim/multi_step/not_planned" in shown(driver, ".card")
    choose(driver, "check", "eta_curve")
    assert set(shown(driver, ".card", "data-verdict")) == {"supported"}
    assert shown(driver, "section.check") == ["check/eta_curve"]
    choose(driver, "paper", "DPO")
    assert set(shown(driver, ".card", "data-paper")) == {"DPO"}


def test_words_are_looked_for_in_every_claim(visit: Visit) -> None:
    driver = visit()
    driver.find_element("name", "q").send_keys("CartPole ALIKE")
    assert shown(driver, ".card") == ["claim/eta_curve/alike"]


def test_that_no_claim_matches_is_said_and_can_be_undone(visit: Visit) -> None:
    driver = visit()
    assert not driver.find_element("id", "nothing").is_displayed()
    driver.find_element("name", "q").send_keys("no such words")
    assert shown(driver, ".card") == []
    assert driver.find_element("id", "nothing").text.startswith("No claim matches.")
    click(driver, "#nothing button")
    assert len(shown(driver, ".card")) == 6


def test_a_filtered_view_can_be_linked(visit: Visit) -> None:
    driver = visit()
    click(driver, 'button[data-verdict="refuted"]')
    choose(driver, "paper", "this project")
    driver.find_element("name", "q").send_keys("wins & more")
    address = fragment(driver)
    driver = visit(address)
    assert driver.find_element("name", "q").get_attribute("value") == "wins & more"
    assert driver.find_element("name", "paper").get_attribute("value") == "this project"
    assert driver.find_element("css selector", '[data-verdict="refuted"]').get_attribute("aria-pressed") == "true"
    assert shown(driver, ".card") == []
    click(driver, "#filters [data-reset]")
    assert fragment(driver) == ""
    assert len(shown(driver, ".card")) == 6


def test_from_a_claim_to_its_figure_its_runs_their_origin_and_back(visit: Visit) -> None:
    driver = visit()
    card = "#claim\\/eta_curve\\/wins"
    click(driver, f"{card} .links a[href^='#figure']")
    figure = fragment(driver)[1:]
    assert in_view(driver, figure)
    picture = (
        "const i = document.getElementById(arguments[0]).querySelector('img'); return i.decode().then(() => i.width)"
    )
    assert driver.execute_script(picture, figure) > 100
    driver.back()
    click(driver, f"{card} a[data-arms]")
    assert fragment(driver) == "#runs/eta_curve"
    assert in_view(driver, "runs/eta_curve")
    click(driver, "#runs\\/eta_curve a[href='#origin/1']")
    assert in_view(driver, "origin/1")
    click(driver, "#origin\\/1 a[href='#runs/multi_step']")
    assert in_view(driver, "runs/multi_step")


def test_the_runs_of_a_claim_are_those_of_its_arms(visit: Visit) -> None:
    driver = visit("#claim/eta_curve/wins")
    script = "document.querySelector('#claim\\\\/eta_curve\\\\/wins a[data-arms]').dataset.arms = '[\"ppo\"]'"
    driver.execute_script(script)  # of this check both arms are in every claim
    click(driver, "#claim\\/eta_curve\\/wins a[data-arms]")
    assert shown(driver, "#runs\\/eta_curve tbody", "data-arm") == ["ppo"]
    assert "wins" in driver.find_element("css selector", "#runs\\/eta_curve .only").text
    click(driver, "#runs\\/eta_curve [data-all-runs]")
    assert shown(driver, "#runs\\/eta_curve tbody", "data-arm") == ["ppo", "da_full"]


RUNS = "#runs\\/eta_curve"


def test_the_runs_of_a_claim_are_as_many_as_its_link_says_and_one_can_go_back(visit: Visit) -> None:
    driver = visit("#claim/eta_curve/wins")
    link = driver.find_element("css selector", "#claim\\/eta_curve\\/wins a[data-tasks]")
    assert link.text == "Its 10 runs"
    link.click()
    assert shown(driver, f"{RUNS} tr[data-task]", "data-task") == ["CartPole-v1"] * 10
    assert driver.find_element("css selector", f"{RUNS} .only").text.startswith("Only the 10 runs of wins.")
    click(driver, f"{RUNS} .only a")
    assert fragment(driver) == "#claim/eta_curve/wins"
    assert in_view(driver, "claim/eta_curve/wins")
    driver.execute_script("location.hash = 'runs/eta_curve'")
    click(driver, f"{RUNS} [data-all-runs]")
    assert len(shown(driver, f"{RUNS} tr[data-task]", "data-task")) == 20


def test_a_task_of_no_shown_run_leaves_no_heading_of_an_arm(visit: Visit) -> None:
    driver = visit()
    script = "document.querySelector(arguments[0]).dataset.tasks = '[]'"
    driver.execute_script(script, "#claim\\/eta_curve\\/wins a[data-tasks]")
    click(driver, "#claim\\/eta_curve\\/wins a[data-tasks]")
    assert shown(driver, f"{RUNS} tbody", "data-arm") == []


def test_a_link_to_all_runs_ends_the_choice_of_some(visit: Visit) -> None:
    driver = visit()
    click(driver, "#claim\\/eta_curve\\/wins a[data-tasks]")
    click(driver, "#origin\\/1 a[href='#runs/eta_curve']")
    assert len(shown(driver, f"{RUNS} tr[data-task]", "data-task")) == 20


def test_from_a_figure_to_its_runs_and_to_the_claims_that_use_it(visit: Visit) -> None:
    driver = visit("#figure/eta_curve/river_swim")
    figure = "#figure\\/eta_curve\\/river_swim"
    click(driver, f"{figure} a[data-tasks]")
    assert set(shown(driver, f"{RUNS} tr[data-task]", "data-task")) == {"river_swim"}
    assert "river_swim" in driver.find_element("css selector", f"{RUNS} .only b").text
    click(driver, f"{RUNS} .only a")
    assert in_view(driver, "figure/eta_curve/river_swim")
    assert driver.find_elements("css selector", f"{figure} a[href^='#claim']") == []
    click(driver, "#figure\\/eta_curve\\/CartPole-v1 a[href='#claim/eta_curve/wins']")
    assert in_view(driver, "claim/eta_curve/wins")
    click(driver, "#claim\\/eta_curve\\/wins a[href='#figure/eta_curve/CartPole-v1']")
    assert in_view(driver, "figure/eta_curve/CartPole-v1")


def test_from_a_lost_run_in_the_table_to_its_log(visit: Visit) -> None:
    driver = visit("#runs/multi_step")
    click(driver, "a[href='#run/multi_step/da_full/Qbert/1']")
    assert in_view(driver, "run/multi_step/da_full/Qbert/1")
    assert "last line of the log" in driver.find_element("id", "run/multi_step/da_full/Qbert/1").text


def test_a_link_to_what_a_filter_hides_shows_it(visit: Visit) -> None:
    driver = visit("#verdict=refuted")
    assert shown(driver, "section.whole") == []
    driver.execute_script("location.hash = 'origin/1'")
    driver.execute_async_script("setTimeout(arguments[0], 50)")
    assert in_view(driver, "origin/1")


def test_the_filters_are_reached_and_used_by_keyboard(visit: Visit) -> None:
    from selenium.webdriver import ActionChains, Keys

    driver = visit()
    ActionChains(driver).send_keys(Keys.TAB).perform()
    assert driver.switch_to.active_element.text == "To the claims"
    for _ in range(20):
        ActionChains(driver).send_keys(Keys.TAB).perform()
        if driver.switch_to.active_element.get_attribute("data-verdict") == "refuted":
            break
    ActionChains(driver).send_keys(Keys.SPACE).perform()
    assert set(shown(driver, ".card", "data-verdict")) == {"refuted"}


def test_hostile_text_runs_nothing(visit: Visit) -> None:
    driver = visit()
    assert driver.title.startswith("Claims and evidence")
    added = "const s = document.createElement('script'); s.textContent = 'document.title = 1'; document.body.append(s)"
    driver.execute_script(added)
    assert driver.title.startswith("Claims and evidence")  # the page's policy knows its own script alone


def test_dark_is_dark_and_light_is_light(visit: Visit) -> None:
    colour = "return getComputedStyle(document.body).backgroundColor"
    assert visit().execute_script(colour) == "rgb(255, 255, 255)"
    assert visit(dark=True).execute_script(colour) == "rgb(21, 23, 26)"


@pytest.mark.parametrize(("width", "height"), [(360, 740), (768, 1024), (1200, 900)])
def test_nothing_is_wider_than_the_window(visit: Visit, width: int, height: int) -> None:
    driver = visit(width=width, height=height)
    assert overflow(driver) <= 0
    driver.execute_script("for (const d of document.querySelectorAll('details')) d.open = true")
    assert overflow(driver) <= 0


def test_without_scripts_every_claim_is_there(visit: Visit, chromium: Any) -> None:
    chromium.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        driver = visit()
        assert len([card for card in driver.find_elements("css selector", ".card") if card.is_displayed()]) == 6
        assert not driver.find_element("id", "filters").is_displayed()
        assert driver.find_element("css selector", ".counts").is_displayed()
    finally:
        chromium.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


def test_the_page_asks_for_nothing_and_complains_about_nothing(visit: Visit, page: Path) -> None:
    driver = visit()
    click(driver, 'button[data-verdict="refuted"]')
    driver.execute_script("for (const i of document.images) i.loading = 'eager'")
    driver.execute_async_script(
        "Promise.all([...document.images].map(i => i.decode())).then(arguments[0], arguments[0])"
    )
    assert requests(driver) == [page.as_uri()]
    assert driver.get_log("browser") == []


def test_on_paper_everything_is_there(visit: Visit, tmp_path: Path) -> None:
    if shutil.which("pdftotext") is None:
        pytest.skip("pdftotext is not installed; make test-browser does it")
    driver = visit("#verdict=refuted")  # a filter does not reach the paper
    unfolded = len(shown(driver, "details[open]"))
    pdf = base64.b64decode(driver.execute_cdp_cmd("Page.printToPDF", {"printBackground": True})["data"])
    (tmp_path / "page.pdf").write_bytes(pdf)
    done = subprocess.run(["pdftotext", tmp_path / "page.pdf", "-"], capture_output=True, text=True, check=True)
    text = " ".join(done.stdout.split())
    for words in ("The divergence wins on CartPole.", "PPO wins on CartPole.", "An arm that has no runs wins."):
        assert words in text
    assert "last line of the log" in text
    assert "Student-t interval" in text  # a table that is folded on the screen
    assert len(shown(driver, "details[open]")) == unfolded < len(shown(driver, "details"))
