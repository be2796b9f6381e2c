"""The page in a real browser: what it draws, that it obeys its policy, and that mouse and keyboard work.

Skipped where there is no Chromium (Debian: apt-get install chromium chromium-driver); `.ci/run` does without.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import made_up
import pytest

from rpd_jax.view.server import Server
from rpd_jax.view.site import Site

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
DRIVER = shutil.which("chromedriver")
QUIET = ("--headless", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-sync")
ROOT_TOO = ("--no-sandbox",) if os.geteuid() == 0 else ()
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium: apt-get install chromium")
needs_driver = pytest.mark.skipif(
    CHROMIUM is None or DRIVER is None, reason="there is no chromedriver: apt-get install chromium chromium-driver"
)
HOSTILE = '</script><img src=x onerror=document.title="owned">'


@pytest.fixture
def address(runs: Path) -> Iterator[str]:
    """Of a page with two runs, one whose texts are hostile, and a comparison, a damaged one beside it."""
    made_up.run(runs / "three", {HOSTILE: 0.5}, note=HOSTILE, config={"extra": HOSTILE})
    made_up.comparison(runs / "compare" / "smoke")
    made_up.comparison(runs / "compare" / "broken", cases=0)
    with Server(Site([runs])) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server.address
        server.shutdown()
        thread.join()


def dom(address: str, profile: Path, *arguments: str) -> tuple[str, str]:
    """The document once its scripts have run, and what the browser's console said."""
    shown = subprocess.run(
        [str(CHROMIUM), *QUIET, *ROOT_TOO, f"--user-data-dir={profile}", "--enable-logging=stderr", *arguments,
         "--virtual-time-budget=5000", "--dump-dom", address],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    return shown.stdout, "\n".join(line for line in shown.stderr.splitlines() if "CONSOLE" in line)


@needs_chromium
def test_what_the_page_draws(address: str, tmp_path: Path) -> None:
    shown, console = dom(address, tmp_path / "profile")
    assert console == ""
    shown = re.sub(r"<script.*?</script>", "", shown, flags=re.DOTALL)
    for title in ("Curves", "Alarms and notes", "Results", "Videos", "A made-up comparison", "Settings"):
        assert f">{title}</h2>" in shown, title
    # Three runs of 2, 2 and 1 variants, each with success, return and std; two cases of two arms, and over all cases.
    assert shown.count('<figure class="chart">') == 3 * 3 + 2 + 2 + 1
    assert shown.count('class="mean"') == 3 * (2 + 2 + 1) + 2 * 2 + 2 * 1 + 2
    assert "eval/success_once one. At the end: ppo 0.25, rpd-mse 0.75" in shown
    assert "std growth: seed 0 (1 of 3), first at step 300" in shown
    assert "broken: comparison.json is damaged" in shown and "an arm's gradient is zero" in shown
    assert '<span class="pill holds">holds</span>' in shown and "still rising" in shown
    assert shown.count("<video") == 1 and "controls" in shown
    assert "<title>owned" not in shown and "<img" not in shown and "&lt;img src=x" in shown


@needs_chromium
def test_a_written_page_needs_no_server(runs: Path, tmp_path: Path) -> None:
    Site([runs]).write(tmp_path / "page")
    shown, console = dom((tmp_path / "page" / "index.html").as_uri(), tmp_path / "profile", "--window-size=390,800")
    assert console == "" and shown.count('<figure class="chart">') == 2 * 3


class Browser:
    """A session of chromedriver, which speaks JSON over HTTP on loopback."""

    def __init__(self, driver: str, profile: Path) -> None:
        self._driver = driver
        arguments = [*QUIET, *ROOT_TOO, f"--user-data-dir={profile}", "--window-size=390,900"]
        options = {"binary": CHROMIUM, "args": arguments}
        wanted = {"capabilities": {"alwaysMatch": {"browserName": "chrome", "goog:chromeOptions": options}}}
        self._session = f"/session/{self._ask('POST', '/session', wanted)['sessionId']}"

    def _ask(self, method: str, path: str, content: Any = None) -> Any:
        body = None if content is None else json.dumps(content).encode()
        asked = urllib.request.Request(self._driver + path, body, {"Content-Type": "application/json"}, method=method)
        with urllib.request.urlopen(asked, timeout=100) as answer:
            return json.load(answer)["value"]

    def open(self, address: str) -> None:
        self._ask("POST", f"{self._session}/url", {"url": address})

    def do(self, script: str) -> Any:
        return self._ask("POST", f"{self._session}/execute/sync", {"script": script, "args": []})

    def element(self, selector: str, text: str, act: str) -> None:
        """Does something, as "click()", to the element with this text."""
        among = f"[...document.querySelectorAll({selector!r})]"
        self.do(f"{among}.find((each) => each.textContent === {text!r}).{act}")

    def press(self, *keys: str) -> None:
        """Presses keys where the focus is."""
        actions = [{"type": kind, "value": key} for key in keys for kind in ("keyDown", "keyUp")]
        self._ask("POST", f"{self._session}/actions", {"actions": [{"type": "key", "id": "keys", "actions": actions}]})

    def close(self) -> None:
        self._ask("DELETE", self._session)


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Browser]:
    process = subprocess.Popen(
        [str(DRIVER), "--port=0"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, start_new_session=True
    )
    try:
        assert process.stdout is not None
        port = next(found[1] for line in process.stdout if (found := re.search(r"successfully on port (\d+)", line)))
        browser = Browser(f"http://127.0.0.1:{port}", tmp_path / "profile")
        yield browser
        browser.close()
    finally:
        os.killpg(process.pid, signal.SIGKILL)  # of its own session: chromedriver and what it started
        process.wait()
        process.stdout.close()


ARROW_LEFT, SPACE, ENTER = "\ue012", " ", "\ue007"


@needs_driver
def test_mouse_and_keyboard(address: str, browser: Browser) -> None:
    browser.open(address)

    def count() -> int:
        return browser.do("return document.querySelectorAll('#curves .mean').length")

    assert count() == 15
    # On a telephone nothing but tables is wider than the screen.
    assert browser.do("return document.documentElement.scrollWidth <= innerWidth")
    # A variant is taken out by the keyboard, which goes on from there, and the address keeps it.
    browser.do(
        "[...document.querySelectorAll('.chip')].find((e) => e.textContent === 'ppo').querySelector('input').focus()"
    )
    browser.press(SPACE)
    assert count() == 15 - 3 * 2
    assert browser.do("return document.activeElement.closest('.chip').textContent") == "ppo"
    assert "hidden=ppo" in browser.do("return location.hash")
    browser.do("location.reload()")
    assert count() == 15 - 3 * 2
    # Runs in one plot.
    browser.element(".chip", "runs in one plot", "click()")
    assert browser.do("return document.querySelectorAll('#curves .chart').length") == 3
    # The arrow keys read a curve.
    browser.do("document.querySelector('#curves .chart svg').focus()")
    browser.press(ARROW_LEFT, ARROW_LEFT)
    tip = browser.do("return document.querySelector('#curves .tip').textContent")
    assert tip.startswith("600 steps") and "rpd-mse · one0.550 [" in tip
    # A table is sorted by a header's button, and back.
    rates = "return [...document.querySelectorAll('#results tbody tr')].map((row) => row.children[3].textContent)"
    browser.do(
        "[...document.querySelectorAll('#results th button')].find((e) => e.textContent === 'success once').focus()"
    )
    browser.press(ENTER)
    assert browser.do(rates) == sorted(browser.do(rates), reverse=True) and len(browser.do(rates)) == 6
    browser.press(ENTER)
    assert browser.do(rates) == sorted(browser.do(rates)) and browser.do(rates)[0] == "0.500"
    assert browser.do("return document.title") == "4 runs and comparisons"
