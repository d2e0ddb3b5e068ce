"""The page in a real browser, from a file and without a network: every chart is drawn and the console stays silent."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from edgec.report.page import figures_of, page

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="chromium and chromedriver are not installed")
OPTIONS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-sync")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for option in (*OPTIONS, "--no-first-run", "--host-resolver-rules=MAP * ~NOTFOUND"):
        options.add_argument(option)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(str(DRIVER)))
    yield driver
    driver.quit()


@pytest.fixture
def shown(browser: Any, planned: Any, tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """shown(name, width, dark): opens a report and returns what the page then says of itself."""
    from selenium.webdriver.support.ui import WebDriverWait

    def show(name: str, width: int = 1200, dark: bool = False) -> dict[str, Any]:
        file = tmp_path / "report.html"
        file.write_text(page(planned[name].report))
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": scheme})
        metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 640}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        browser.get(file.as_uri())
        WebDriverWait(browser, 90).until(
            lambda b: b.execute_script(
                "return document.documentElement.dataset.drawn || !document.getElementById('trouble').hidden"
            )
        )
        return browser.execute_script(
            "const root = document.documentElement;"
            "return {drawn: root.dataset.drawn, width: root.scrollWidth,"
            " trouble: document.getElementById('trouble').textContent,"
            " back: getComputedStyle(document.body).backgroundColor,"
            " bars: Object.fromEntries([...document.querySelectorAll('.chart')].map("
            "  e => [e.id, e.querySelectorAll('.point path, path.point, .hm image').length])),"
            " ink: getComputedStyle(document.querySelector('.chart text')).fill}"
        )

    return show


@pytest.mark.parametrize("name", ("siracusa", "tiny_all"))
def test_every_chart_is_drawn_and_the_console_is_silent(browser: Any, shown: Any, planned: Any, name: str) -> None:
    report = planned[name].report
    found = shown(name)
    figures = figures_of(report)
    assert found["drawn"] == str(len(figures)), found["trouble"]
    assert found["bars"].keys() == figures.keys()
    for memory in (m for m in report.memory if m.used):
        buffers = sum(2 - bool(b.program) for b in report.buffers if b.level == memory.name and b.size)
        assert found["bars"][f"map-{memory.name}"] == buffers
    assert all(found["bars"].values())
    assert browser.get_log("browser") == []


def test_a_phone_need_not_scroll_sideways(shown: Any) -> None:
    assert shown("siracusa", width=390)["width"] <= 390


def test_dark_mode_has_light_ink(shown: Any) -> None:
    light, dark = shown("siracusa"), shown("siracusa", dark=True)
    assert light["back"] == "rgb(255, 255, 255)" and dark["back"] == "rgb(20, 21, 24)"
    assert light["ink"] == "rgb(28, 28, 30)" and dark["ink"] == "rgb(232, 232, 234)"


def test_paper_is_narrower_than_the_window(browser: Any, shown: Any) -> None:
    widths = "return Array.from(document.querySelectorAll('.js-plotly-plot'), e => e._fullLayout.width)"
    shown("siracusa", width=1500, dark=True)
    before = browser.execute_script(widths)
    assert before and min(before) > 640
    browser.execute_script("window.dispatchEvent(new Event('beforeprint'))")
    assert set(browser.execute_script(widths)) == {640}
    ink = "return getComputedStyle(document.querySelector('.js-plotly-plot .gtitle, .js-plotly-plot .xtick text')).fill"
    assert browser.execute_script(ink) == "rgb(28, 28, 30)"  # dark ink, whatever the screen shows
    browser.execute_script("window.dispatchEvent(new Event('afterprint'))")
    assert browser.execute_script(widths) == before
