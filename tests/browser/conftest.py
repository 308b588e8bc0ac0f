"""A real Chromium, headless, that opens the report page of a small store from its file.

Without Chromium, its driver or Selenium these tests are skipped; `make test-browser` installs what they need.
"""

import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.append(str(Path(__file__).parents[1] / "analysis"))  # report_store, synthetic

FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)


def _program(*names: str) -> str:
    found = next((path for name in names if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip(f"{names[0]} is not installed; make test-browser does it")
    return found


@pytest.fixture(scope="session")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report page of `report_store.write_store`."""
    import report_store

    from analysis import __main__ as cli

    store = report_store.write_store(tmp_path_factory.mktemp("store"))
    assert cli.main(["report", f"store={store}"]) == 0
    return store / "analysis" / "report.html"


@pytest.fixture(scope="session")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The browser, started once."""
    pytest.importorskip("selenium", reason="selenium is not installed; make test-browser does it")
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = _program("chromium", "chromium-browser", "google-chrome")
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(_program("chromedriver")))
    yield driver
    driver.quit()


@pytest.fixture
def visit(chromium: Any, page: Path) -> Callable[..., Any]:
    """Opens the page anew: visit(fragment, width, height, dark) -> the driver."""

    def go(fragment: str = "", width: int = 1200, height: int = 900, dark: bool = False) -> Any:
        chromium.get("about:blank")
        for kind in ("browser", "performance"):  # what an earlier test left there
            chromium.get_log(kind)
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
        chromium.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        media = [
            {"name": "prefers-color-scheme", "value": "dark" if dark else "light"},
            {"name": "prefers-reduced-motion", "value": "reduce"},  # a click has then scrolled when it returns
        ]
        chromium.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": media})
        chromium.get(page.as_uri() + fragment)
        return chromium

    return go
