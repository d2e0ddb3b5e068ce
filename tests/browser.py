"""A real browser without a network, for tests of pages."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
MISSING = not (CHROMIUM and DRIVER)
OPTIONS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-sync")


@contextmanager
def opened() -> Iterator[Any]:
    """Chromium, driven by Selenium; no name resolves."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for option in (*OPTIONS, "--no-first-run", "--host-resolver-rules=MAP * ~NOTFOUND"):
        options.add_argument(option)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(str(DRIVER)))
    try:
        yield driver
    finally:
        driver.quit()


def shown(browser: Any, file: Path, width: int = 1200, dark: bool = False) -> dict[str, Any]:
    """Open a page, wait until its charts are drawn, and return what it then says of itself."""
    from selenium.webdriver.support.ui import WebDriverWait

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
    found: dict[str, Any] = browser.execute_script(
        "const root = document.documentElement;"
        "return {drawn: root.dataset.drawn, width: root.scrollWidth,"
        " trouble: document.getElementById('trouble').textContent,"
        " back: getComputedStyle(document.body).backgroundColor,"
        " bars: Object.fromEntries([...document.querySelectorAll('.chart')].map("
        "  e => [e.id, e.querySelectorAll('.point path, path.point, .hm image').length])),"
        " ink: getComputedStyle(document.querySelector('.chart text')).fill}"
    )
    return found
