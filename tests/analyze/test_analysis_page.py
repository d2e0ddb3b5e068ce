"""The page of an analysis in a real browser, from a file and without a network."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgec.analyze import charts
from edgec.analyze.exchange import Exchange
from edgec.analyze.output import Analysis
from edgec.analyze.spectrum import Spectrum
from tests.browser import MISSING, opened, shown


@pytest.mark.skipif(MISSING, reason="chromium and chromedriver are not installed")
def test_the_page_of_an_analysis(tmp_path: Path) -> None:
    spectra = [
        *(Spectrum(role, layer, "", (4, 6), np.array([4.0, 2, 1, 0.5])) for role in ("q", "up") for layer in (0, 1)),
        *(Spectrum("q", None, joined, (4, 6), np.array([4.0, 2, 1, 0.5])) for joined in ("rows", "columns")),
    ]
    exchanged = Exchange("mlp", 2.0, np.array([1.0, 3.0]), np.array([[0.0, 4.0], [0.5, 0.0]]))
    made = [
        ("ranks", charts.rank_map(spectra)),
        ("curves", charts.explained(spectra, "")),
        ("parts", charts.ablation([exchanged])),
        ("map", charts.exchange_map(exchanged, "difference")),
    ]
    title = "of </script><b>a model</b>"
    summary = [("block", "without mlp"), ("0", "+1.0000")]
    analysis = Analysis("replace", title, exchanged.rows(), made, ["a line"], summary, {"model": "m"})
    analysis.write(tmp_path)
    with opened() as browser:
        for width, dark in ((1200, False), (390, True)):
            found = shown(browser, tmp_path / "replace.html", width, dark)
            assert found["drawn"] == "4", found["trouble"]
            assert found["width"] <= width
            assert browser.get_log("browser") == []
        assert found["ink"] == "rgb(232, 232, 234)"
        assert browser.execute_script("return document.querySelector('h1').textContent") == title
