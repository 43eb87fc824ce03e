"""Chromium from the system, driven by Playwright."""

import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, expect, sync_playwright

CHROMIUM = shutil.which("chromium")
needs_chromium = pytest.mark.skipif(
    CHROMIUM is None, reason="needs Chromium: apt-get install chromium"
)
ROOT = Path(__file__).parents[2]
AXE = ROOT / "tests/admin/node_modules/axe-core/axe.min.js"

SCHEMES = {
    "light": {"viewport": {"width": 1360, "height": 900}, "color_scheme": "light"},
    "dark": {"viewport": {"width": 1360, "height": 900}, "color_scheme": "dark"},
    "phone": {"viewport": {"width": 390, "height": 844}, "color_scheme": "light"},
}


@contextmanager
def chromium() -> Iterator[Browser]:
    expect.set_options(timeout=60_000)  # by default 5 s, which a busy machine may take for a voice
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@dataclass
class Visitor:
    """A person in a browser. Whatever the console says in error, or leads elsewhere, is kept."""

    page: Page
    url: str
    complaints: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.set_default_timeout(60_000)
        self.page.on("console", self._on_console)
        self.page.on("requestfailed", self._on_request_failed)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", self._on_request)

    def _on_console(self, message: ConsoleMessage) -> None:
        # htmx says this of a poll that was cut off when the page was left, too: the network tells
        # such a one from one that failed.
        is_no_answer = re.match(r"htmx:(afterRequest|sendError|sendAbort)\b", message.text)
        if message.type in ("error", "warning") and not is_no_answer:
            self.complaints.append(message.text)

    def _on_request_failed(self, request: Request) -> None:
        # The page itself gave the request up: it was left, or asks anew.
        if request.failure != "net::ERR_ABORTED":
            self.complaints.append(f"{request.url}: {request.failure}")

    def _on_request(self, request: Request) -> None:
        if not re.match(rf"{re.escape(self.url)}/|blob:|data:", request.url):
            self.complaints.append(f"asked {request.url}")

    def log_in(self, secret: str) -> "Visitor":
        self.page.goto(f"{self.url}/admin")
        self.page.get_by_label("API key").fill(secret)
        self.page.get_by_role("button", name="Log in").click()
        self.page.wait_for_url(f"{self.url}/admin")
        return self

    def go(self, path: str) -> Page:
        self.page.goto(f"{self.url}/admin{path}")
        return self.page

    def until(self, holds: str | Callable[[], bool]) -> None:
        """Wait until something is true: a call, or an expression of JavaScript, which the page's
        policy forbids Playwright's own way to evaluate."""
        deadline = time.monotonic() + 120
        while not (self.page.evaluate(holds) if isinstance(holds, str) else holds()):
            assert time.monotonic() < deadline, f"never {holds}"
            self.page.wait_for_timeout(50)

    def serious_faults(self) -> list[str]:
        """What axe-core finds that keeps people out."""
        self.page.evaluate(AXE.read_text())  # not as a script of the page: its policy forbids that
        found = self.page.evaluate("axe.run(document, {resultTypes: ['violations']})")
        return [
            f"{fault['id']}: {node['target']} {node['failureSummary']}"
            for fault in found["violations"]
            if fault["impact"] in ("serious", "critical")
            for node in fault["nodes"]
        ]
