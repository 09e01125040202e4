"""The page of a difference: changed words, reasons, and pictures side by side; texts are text."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from support.browser import Tab
from support.command import ROOT, call
from support.runs import pixels, write_run

RECIPE = f"""\
recipe: 1
name: demo
base: {{model: {ROOT}/recipes/demo/model}}
prompts: [{{id: star, prompt: PROMPT}}]
seeds: [1, 2]
"""
HOSTILE = "a <b onclick=alert(1)>red</b> </script><script>alert(2)</script> star"


def opened(tab: Tab, capsys: pytest.CaptureFixture[str], *words: str) -> None:
    """Write the page of a difference and open it."""
    answer = call(capsys, "diff", *words, "--format", "html", "--output", "pages/diff.html")
    assert (answer.status, answer.out) == (1, "")
    tab.page.goto(Path("pages/diff.html").resolve().as_uri())


def test_words_that_changed_are_marked_and_texts_are_text(tab: Tab, capsys: pytest.CaptureFixture[str]) -> None:
    for name, prompt in (("a.yaml", HOSTILE.replace("red", "blue")), ("b.yaml", HOSTILE)):
        Path(name).write_text(RECIPE.replace("PROMPT", json.dumps(prompt)))
    opened(tab, capsys, "a.yaml", "b.yaml")
    page = tab.page
    assert page.locator("del").all_inner_texts() == ["blue"]
    assert page.locator("ins").all_inner_texts() == ["red"]
    assert "2 images change; 2 images to make, 100 denoising steps" in page.locator("main").inner_text()
    assert page.locator("main b").all_inner_texts() == ["~"]
    assert (tab.seen.dialogs, tab.seen.errors, tab.fetched()) == ([], [], set())
    tab.shoot("diff-recipe", full=True)
    assert "Found 0 accessibility violations" in Axe().run(page).generate_report()


def test_pictures_of_runs_stand_side_by_side(tab: Tab, capsys: pytest.CaptureFixture[str]) -> None:
    write_run(Path("a"))
    write_run(Path("b"), {0: pixels(50), 1: pixels(1, (32, 32)), 2: pixels(9)})
    Path("b/images/cat-33-0.0.png").unlink()
    opened(tab, capsys, "a", "b")
    page = tab.page
    first, second, third = page.locator(".different").all()
    assert first.locator("h3").inner_text() == "bears, seed 33, cereal.scale 0.0"
    assert "different: max abs " in first.inner_text()
    assert [image.get_attribute("src") for image in first.locator("img").all()] == [
        "../a/images/bears-33-0.0.png", "../b/images/bears-33-0.0.png"
    ]  # fmt: skip
    assert "64x48 and 32x32 pixels" in second.inner_text()
    assert "the image file is missing" in third.inner_text()
    assert not third.get_by_role("button").is_visible()
    assert page.locator("summary").inner_text() == "5 equal images"
    first.get_by_role("button").click()
    page.get_by_label("difference", exact=True).check()
    tab.shoot("diff-run")
    assert "node key" not in page.locator("#compare tbody").inner_text()
    assert "pixel sha256" in page.locator("#compare tbody").inner_text()
    assert "Found 0 accessibility violations" in Axe().run(page).generate_report()
    assert (tab.seen.errors, tab.fetched()) == ([], set())


def test_a_page_to_send_carries_its_pictures(capsys: pytest.CaptureFixture[str]) -> None:
    write_run(Path("a"))
    write_run(Path("b"), {0: pixels(50)})
    out = call(capsys, "diff", "a", "b", "--format", "html", "--embed").out
    assert out.count('src="data:image/png;base64,') == 2
    assert "images/bears" not in out
