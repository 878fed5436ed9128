"""A report in a real browser: headless Chromium opens it, in light, dark and narrow, and prints it."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from simtx.report.review.pdf import printed

_QUIET = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--host-resolver-rules=MAP * ~NOTFOUND",
)
_WIDER = """
return [...document.querySelectorAll('body *')]
  .filter(one => !one.closest('.box'))  // what scrolls in its own box may be wider
  .filter(one => { const box = one.getBoundingClientRect(); return box.width > 1 && box.right > document.documentElement.clientWidth + 1; })
  .map(one => one.tagName + ' ' + one.className + ' ' + one.textContent.slice(0, 40));
"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    from selenium import webdriver
    from selenium.common.exceptions import WebDriverException

    chromium, driver = (shutil.which(name) for name in ("chromium", "chromedriver"))
    if chromium is None or driver is None:
        pytest.fail("needs chromium and chromedriver on the PATH (Debian: apt install chromium chromium-driver)")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for argument in (*_QUIET, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    for left in (2, 1, 0):  # on a busy machine a browser may be given up before it has started
        try:
            found = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
            break
        except WebDriverException:
            if not left:
                raise
    found.set_page_load_timeout(300)
    yield found
    found.quit()


def _opened(browser: Any, page: Path, width: int, scheme: str = "light") -> None:
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    browser.get(page.as_uri())


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (1280, "dark"), (400, "light")])
@pytest.mark.sample(3)
def test_a_browser_shows_all_of_it(browser: Any, page: Path, width: int, scheme: str) -> None:
    _opened(browser, page, width, scheme)
    assert browser.get_log("browser") == []
    broken = "return [...document.images].filter(one => !one.complete || !one.naturalWidth).map(one => one.alt)"
    assert browser.execute_script(broken) == []
    assert browser.execute_script("return document.images.length") >= 5
    assert browser.execute_script(_WIDER) == []
    assert browser.execute_script("return document.documentElement.scrollWidth <= innerWidth")
    colour = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
    dark = max(map(int, re.findall(r"\d+", colour)[:3])) < 60
    assert dark == (scheme == "dark")  # our styles are allowed by the policy, and follow the reader
    small = "return Math.min(...[...document.querySelectorAll('p, td, th, li, figcaption')].map(one => parseFloat(getComputedStyle(one).fontSize)))"
    assert browser.execute_script(small) >= 12
    shown = browser.execute_script("return [...document.querySelectorAll('figure img')].map(one => one.clientWidth)")
    assert min(shown) >= (600 if width == 400 else 300)  # on a telephone a picture scrolls, and is not made small
    look = browser.execute_script("return getComputedStyle(document.querySelector('.box img')).filter")
    assert ("invert" in look) == (scheme == "dark")  # no white card on a dark page
    assert browser.execute_script("return document.querySelectorAll('details .long img').length") == 1


def test_the_policy_blocks_what_is_not_ours(browser: Any, page: Path, tmp_path: Path) -> None:
    """The same page with a script, a style and a picture from elsewhere put in: none of them is run, used or asked for."""
    changed = tmp_path / "evil.html"
    evil = "<script>document.title = 'run'</script><style>body { background: rgb(1, 2, 3) }</style><img src='http://example.com/x.png'>"
    changed.write_text(page.read_text(encoding="utf-8").replace("</main>", f"{evil}</main>"), encoding="utf-8")
    _opened(browser, changed, 1280)
    assert browser.title != "run"
    assert browser.execute_script("return getComputedStyle(document.body).backgroundColor") != "rgb(1, 2, 3)"
    blocked: list[dict[str, Any]] = []
    end = time.monotonic() + 120
    while len(blocked) < 3 and time.monotonic() < end:  # the browser writes them down a little later
        blocked += [one for one in browser.get_log("browser") if "Content Security Policy" in one["message"]]
    assert len(blocked) == 3


def test_it_prints_on_six_pages_at_most(page: Path) -> None:
    data = printed(page).read_bytes()
    assert data.startswith(b"%PDF-")
    pages = len(re.findall(rb"/Type\s*/Page\b(?!s)", data))
    assert 1 <= pages <= 6
    sizes = {tuple(round(float(one)) for one in box.split()) for box in re.findall(rb"/MediaBox\s*\[([^\]]*)\]", data)}
    assert sizes == {(0, 0, 595, 842)}  # A4


@pytest.mark.heavy
def test_twelve_strategies_print_on_seven_pages_at_most(tmp_path: Path) -> None:
    """Of so many, thresholds have a row a strategy, and the lines to replay are on the page alone."""
    import simtx
    from tests.report.test_pictures import FAULTS, scenario, twelve

    small = scenario(**{"run.transactions": 40, "faults": FAULTS[:1]})
    comparison = simtx.compare(small, twelve(), replications=2, workers=1, progress=False)
    page = comparison.report(tmp_path / "review.html")
    text = page.read_text(encoding="utf-8")
    assert 'class="many"' in text
    assert '<th scope="col">strategy</th><th scope="col">no effects missing' in text
    assert 1 <= len(re.findall(rb"/Type\s*/Page\b(?!s)", printed(page).read_bytes())) <= 7
