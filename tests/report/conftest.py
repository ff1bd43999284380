"""Gives the tests of the report a real browser."""

import dataclasses
import fcntl
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from espnet3.report.write import PAGE, write_report

TOOL = Path(__file__).resolve().parents[2] / "tools" / "chromium.sh"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Headless Chromium, where it can be installed. One at a time: Playwright keeps an event loop running."""
    from playwright.sync_api import sync_playwright

    with (tmp_path_factory.getbasetemp().parent / "set-up.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # one at a time installs packages
        found = subprocess.run([str(TOOL)], capture_output=True, text=True, check=False)
    if found.returncode == 2:
        pytest.skip(found.stderr.strip())
    assert found.returncode == 0, found.stderr
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=found.stdout.strip(), args=["--disable-gpu"])
        yield chromium
        chromium.close()


class Opened:
    """A report's page in a tab of its own, opened from its file; and everything that went wrong in it."""

    def __init__(self, file: Path, browser: Any, **options: Any) -> None:
        self.file = file
        context = browser.new_context(offline=True, viewport={"width": 1360, "height": 900}, **options)
        context.set_default_timeout(60_000)
        context.grant_permissions(["clipboard-read", "clipboard-write"])
        self.page = context.new_page()
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", lambda message: self.complaints.append(f"{message.type}: {message.text}"))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(file.as_uri())
        self.page.wait_for_selector("html[data-ready]")

    def rows(self) -> list[int]:
        """Indices of the trials in the table, in its order."""
        script = "rows => rows.map(row => Number(row.dataset.trial))"
        return list(self.page.eval_on_selector_all("#trials tbody tr[data-trial]", script))

    def select(self, section: str, label: str, text: str) -> None:
        """Choose in the list that is labelled so."""
        found = self.page.locator(f"{section} form label", has_text=label)
        found.locator("select").select_option(label=text)

    def close(self) -> None:
        """Nothing was said on the console and nothing asked for but the page itself."""
        asked = [url for url in self.requests if not url.startswith(("data:", "blob:"))]
        self.page.context.close()
        assert self.complaints == []
        assert asked and set(asked) == {self.file.as_uri()}


@pytest.fixture
def open_page(browser: Any) -> Iterator[Callable[..., Opened]]:
    """Open a page from its file; what is wrong in it fails the test at its end."""
    opened: list[Opened] = []

    def begin(file: Path, **options: Any) -> Opened:
        opened.append(Opened(file, browser, **options))
        return opened[-1]

    yield begin
    for one in opened:
        one.close()


@pytest.fixture
def open_report(open_page: Callable[..., Opened], tmp_path: Path) -> Callable[..., Opened]:
    """Write the report on a view and open its page."""

    def begin(view: Any, **options: Any) -> Opened:
        view = dataclasses.replace(view, directory=str(tmp_path / "sweep"))
        write_report(view, None, tmp_path / "sweep" / "report")
        return open_page(tmp_path / "sweep" / "report" / PAGE, **options)

    return begin
