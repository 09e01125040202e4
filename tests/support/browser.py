"""A real Chromium to open pages with. Where there is none, tests skip and say so."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Dialog, Page, sync_playwright

ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
)
"""Of a container without a screen; the page is the only thing that could reach out."""


@dataclass
class Seen:
    """What happened while a page was open: errors of scripts, policy and console; dialogs; and what was asked for."""

    errors: list[str] = field(default_factory=list)
    dialogs: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)


@dataclass
class Tab:
    """An open page."""

    page: Page
    seen: Seen
    shots: Path

    def shoot(self, name: str, *, full: bool = False) -> None:
        """Keep a picture of the page."""
        self.shots.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=self.shots / f"{name}.png", full_page=full)

    def fetched(self) -> set[str]:
        """What was asked for from elsewhere than the disk and the page itself."""
        return {address for address in self.seen.requests if not address.startswith(("file:", "data:", "blob:"))}


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """A headless Chromium."""
    path = shutil.which("chromium")
    if path is None:
        pytest.skip("chromium is not installed (apt-get install chromium)")
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield running
        running.close()


@pytest.fixture
def tab(browser: Browser, tmp_path: Path) -> Iterator[Tab]:
    """A tab. Its pictures are kept in the folder RECIPE_RUNNER_SCREENSHOTS where that is set."""
    context = browser.new_context(viewport={"width": 1300, "height": 900})
    page, seen = context.new_page(), Seen()

    def refuse(dialog: Dialog) -> None:
        seen.dialogs.append(dialog.message)
        dialog.dismiss()

    page.on("console", lambda message: seen.errors.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: seen.errors.append(str(error)))
    page.on("dialog", refuse)
    page.on("request", lambda request: seen.requests.append(request.url))
    yield Tab(page, seen, Path(os.environ.get("RECIPE_RUNNER_SCREENSHOTS") or tmp_path / "screenshots"))
    context.close()
