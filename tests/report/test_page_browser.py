"""The page in a real browser, from a file and without a network: every chart is drawn and the console stays silent."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from edgec.report.page import figures_of, page
from edgec.report.report import Report, make_report
from tests.browser import MISSING, opened
from tests.browser import shown as open_page

pytestmark = pytest.mark.skipif(MISSING, reason="chromium and chromedriver are not installed")
STAGES = [
    {"method": "dense", "parameters": 9000, "nonzero": 9000, "bytes": 18_000_000, "block_bits_per_weight": 16.0}
    | {"quality": {"perplexity": 30.0}, "seconds": None},
    {"method": "depth", "blocks": 1, "parameters": 8000, "nonzero": 8000, "bytes": 16_000_000}
    | {"block_bits_per_weight": 16.0, "quality": {"perplexity": 35.5}, "seconds": 3.0},
    {"method": "quantize", "bits": 4, "group_size": 64, "parameters": 8000, "nonzero": 8000, "bytes": 4_500_000}
    | {"block_bits_per_weight": 4.25, "quality": {"perplexity": 36.25}, "seconds": 5.0},
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with opened() as driver:
        yield driver


@pytest.fixture
def shown(browser: Any, planned: Any, tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """shown(report, width, dark): opens a report, or that of a name, and returns what the page then says of itself."""

    def show(report: Report | str, width: int = 1200, dark: bool = False) -> dict[str, Any]:
        file = tmp_path / "report.html"
        file.write_text(page(planned[report].report if isinstance(report, str) else report))
        return open_page(browser, file, width, dark)

    return show


@pytest.fixture
def staged(planned: Any) -> Report:
    """A report of a model that went through stages."""
    meta, graphs, plan, _ = planned["siracusa"]
    return make_report(meta | {"stages": STAGES}, plan, graphs, {})


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


def test_stages_have_a_table_and_a_curve(browser: Any, shown: Any, staged: Report) -> None:
    found = shown(staged)
    assert found["drawn"] == str(len(figures_of(staged))), found["trouble"]
    assert found["bars"]["quality"] == len(STAGES)
    cells = "return Array.from(document.querySelectorAll('#stages tr'), r => Array.from(r.cells, c => c.textContent))"
    heading, *rows = browser.execute_script(cells)
    assert heading[0] == "stage" and [row[0] for row in rows] == ["dense", "depth 1", "quantize 4 64"]
    assert [row[5:7] for row in rows] == [["30.00", ""], ["35.50", "+5.50"], ["36.25", "+0.75"]]
    names = "return Array.from(document.querySelectorAll('#quality .textpoint text'), t => t.textContent)"
    assert browser.execute_script(names) == ["dense", "depth", "quantize"]
    assert browser.get_log("browser") == []


def test_layers_have_a_row_each(browser: Any, shown: Any, planned: Any) -> None:
    shown("siracusa")
    first = "return Array.from(document.querySelectorAll('#layers td:first-child'), c => c.textContent)"
    assert browser.execute_script(first) == [c.name for c in planned["siracusa"].report.layers]


def test_it_prints_on_several_pages(browser: Any, shown: Any, staged: Report) -> None:
    shown(staged, dark=True)
    dark = [{"name": "prefers-color-scheme", "value": "dark"}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print", "features": dark})
    back = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert back == "rgb(255, 255, 255)"  # paper, whatever the screen shows
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": dark})
    printed = browser.execute_cdp_cmd(
        "Page.printToPDF", {"printBackground": True, "paperWidth": 8.27, "paperHeight": 11.69}
    )
    pdf = base64.b64decode(printed["data"])
    assert pdf.startswith(b"%PDF-") and pdf.rstrip().endswith(b"%%EOF")
    assert len(re.findall(rb"/Type\s*/Page\b", pdf)) > 2
    assert browser.get_log("browser") == []
