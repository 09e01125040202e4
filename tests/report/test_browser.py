"""The report in a real browser: it opens from the disk, its sheet can be turned, and images can be looked at."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from support.browser import Tab
from support.manifests import image, manifest
from support.runs import pixels, write_run

from recipe_runner.actions.write_views import report_of
from recipe_runner.record.manifest import manifest_bytes

HOSTILE = "</script><script>alert(1)</script>\"><img src=x onerror=alert(2)>\u2028'"


def opened(tab: Tab, *folders: str, name: str = "report.html", wait: bool = True) -> Tab:
    """The report of runs, written to the current folder and opened."""
    Path(name).write_bytes(report_of([Path(folder) for folder in folders or ("run",)], Path()))
    tab.page.goto(Path(name).resolve().as_uri())
    if wait:
        tab.page.locator(".images img").first.evaluate("(image) => image.decode()")
    return tab


def names(tab: Tab) -> list[list[str]]:
    """The names of the images of each row, as they stand."""
    found: list[list[str]] = tab.page.evaluate(
        "[...document.querySelectorAll('.images tbody tr')].map((row) =>"
        " [...row.querySelectorAll('figure img')].map((image) => image.alt))"
    )
    return found


def test_it_opens_from_the_disk_and_fetches_nothing(tab: Tab) -> None:
    write_run(Path("run"))
    opened(tab)
    tab.shoot("report-light", full=True)
    tab.page.emulate_media(color_scheme="dark")
    tab.shoot("report-dark")
    assert tab.fetched() == set()
    assert tab.seen.errors == []
    assert tab.page.title() == "cereal-or-film"
    assert tab.page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(13, 17, 23)"


def test_axes_can_be_picked(tab: Tab) -> None:
    write_run(Path("run"))
    opened(tab)
    assert names(tab)[0] == ["bears, seed 33, cereal.scale 0.0", "bears, seed 33, cereal.scale 0.5"]
    tab.page.get_by_label("seed", exact=True).select_option("columns")
    assert [len(row) for row in names(tab)] == [4, 4]
    assert tab.page.locator(".images thead tr").count() == 2
    tab.page.get_by_label("cereal.scale", exact=True).select_option("only 0.5")
    tab.page.get_by_label("prompt", exact=True).select_option("columns")
    assert names(tab) == [
        ["bears, seed 33, cereal.scale 0.5", "bears, seed 34, cereal.scale 0.5",
         "cat, seed 33, cereal.scale 0.5", "cat, seed 34, cereal.scale 0.5"]
    ]  # fmt: skip
    tab.page.get_by_label("prompt", exact=True).select_option("rows")
    tab.page.get_by_label("seed", exact=True).select_option("rows")
    tab.page.get_by_label("cereal.scale", exact=True).select_option("rows")
    assert [len(row) for row in names(tab)] == [1] * 8
    assert tab.seen.errors == []


def test_the_script_draws_the_sheet_that_was_written(tab: Tab) -> None:
    write_run(Path("a"))
    write_run(Path("b"), plan_digest="f" * 64)
    opened(tab, "a", "b")
    # Titles, classes and spans of one are left to either.
    plain = re.compile(r' (title|class|(col|row)span)="(1|[^"]*[^"0-9][^"]*|)"|\s')
    html = "document.querySelector('.images').outerHTML"
    written = plain.sub("", tab.page.evaluate(html))
    seeds = tab.page.get_by_label("seed", exact=True)
    seeds.select_option("columns")
    seeds.select_option("rows")
    assert plain.sub("", tab.page.evaluate(html)) == written


def test_an_image_is_looked_at_with_the_keyboard_alone(tab: Tab) -> None:
    made = write_run(Path("run"))
    opened(tab)
    page = tab.page
    page.locator("figure a").first.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    detail = page.locator("#detail")
    assert detail.locator("h2").inner_text() == "bears, seed 34, cereal.scale 0.5"
    facts = detail.locator("dl").inner_text()
    record = made.images[5]
    for text in (record.node_key, record.file_sha256, record.pixel_sha256, "bears", "0.5", "34"):
        assert text in facts
    folder = Path("run").resolve()
    command = f"recipe-runner run {folder}/resolved.yaml --only bears-34-0.5.png --runs again"
    assert detail.locator("code").inner_text() == command
    width = "document.querySelector('.stage img').getBoundingClientRect().width"
    before = page.evaluate(width)
    page.keyboard.press("+")
    page.wait_for_timeout(500)
    assert page.evaluate(width) > before * 1.2
    tab.shoot("report-detail")
    page.keyboard.press("ArrowRight")
    assert detail.locator("h2").inner_text() == "cat, seed 33, cereal.scale 0.0"
    page.keyboard.press("Escape")
    assert not detail.is_visible()
    assert page.evaluate("document.activeElement.querySelector('img').alt") == "cat, seed 33, cereal.scale 0.0"
    assert tab.seen.errors == []


def test_two_images_are_compared(tab: Tab) -> None:
    write_run(Path("run"), {1: pixels(0)})
    opened(tab)
    page = tab.page
    page.locator("figure a").first.focus()
    page.keyboard.press("c")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("c")
    page.get_by_role("button", name="compare the two marked images").click()
    slider = page.get_by_role("slider", name="Share of the first image that is shown")
    box = slider.bounding_box()
    assert box is not None
    page.mouse.click(box["x"] + box["width"] * 0.25, box["y"] + box["height"] / 2)
    assert slider.get_attribute("aria-valuenow") == "25"
    tab.shoot("report-compare")
    page.get_by_label("side by side").check()
    assert page.locator(".pair > img").count() == 2
    page.get_by_label("difference", exact=True).check()
    tab.shoot("report-difference")
    # Equal pixels leave nothing, however much it is amplified.
    page.get_by_label("Amplification of the difference").fill("5")
    shot = Path("difference.png")
    page.locator(".over").screenshot(path=shot)
    from PIL import Image

    with Image.open(shot) as picture:
        assert picture.convert("RGB").getextrema() == ((0, 0), (0, 0), (0, 0))
    assert "seed" in page.locator("#compare tbody").inner_text()
    assert tab.seen.errors == []


def test_hostile_texts_do_nothing(tab: Tab) -> None:
    hostile = image("bears", 33, 0.0).model_copy(update={"variant": {f"adapters.{HOSTILE}.scale": HOSTILE}})
    made = write_run(Path("<img src=x onerror=alert(3)>"), base=manifest().model_copy(update={"images": (hostile,)}))
    folder = Path("<img src=x onerror=alert(3)>")
    (folder / "manifest.json").write_bytes(manifest_bytes(made.model_copy(update={"name": HOSTILE})))
    resolved = folder / "resolved.yaml"
    resolved.write_text(resolved.read_text().replace("prompt: bears}", f"prompt: {json.dumps(HOSTILE)}}}"))
    opened(tab, folder.name)
    page = tab.page
    page.locator("figure a").first.click()
    assert HOSTILE in page.locator("#detail dl").inner_text() or "alert(2)" in page.locator("#detail dl").inner_text()
    assert "'" in page.locator("#detail code").inner_text()
    page.keyboard.press("Escape")
    page.wait_for_timeout(100)
    assert (tab.seen.dialogs, tab.seen.errors, tab.fetched()) == ([], [], set())
    assert page.locator("body script").count() == page.evaluate("document.scripts.length") == 8


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_stands_in_the_way_of_a_screen_reader(tab: Tab, scheme: str) -> None:
    write_run(Path("run"))
    tab.page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    opened(tab)
    axe = Axe()
    found = [axe.run(tab.page).generate_report()]
    tab.page.locator("figure a").first.click()
    found.append(axe.run(tab.page).generate_report())
    tab.page.keyboard.press("Escape")
    for number in (0, 1):
        tab.page.locator("figure a").nth(number).focus()
        tab.page.keyboard.press("c")
    tab.page.get_by_role("button", name="compare the two marked images").click()
    found.append(axe.run(tab.page).generate_report())
    assert ["Found 0 accessibility violations" in report for report in found] == [True] * 3, "\n".join(found)


def test_it_fits_a_narrow_screen_and_paper(tab: Tab) -> None:
    write_run(Path("run"))
    opened(tab)
    tab.page.set_viewport_size({"width": 400, "height": 800})
    tab.shoot("report-narrow")
    assert tab.page.evaluate("document.documentElement.scrollWidth") <= 400
    tab.page.set_viewport_size({"width": 1000, "height": 800})
    tab.page.emulate_media(media="print", color_scheme="dark")
    tab.shoot("report-print", full=True)
    assert not tab.page.locator("#controls").is_visible()
    assert tab.page.evaluate("getComputedStyle(document.body).color") == "rgb(0, 0, 0)"
    assert tab.page.evaluate("getComputedStyle(document.querySelector('.sheet')).overflow") == "visible"


def test_without_scripts_the_sheet_is_there(tab: Tab) -> None:
    write_run(Path("run"))
    Path("report.html").write_bytes(report_of([Path("run")], Path()))
    context = tab.page.context.browser
    assert context is not None
    page = context.new_page(java_script_enabled=False)
    page.goto(Path("report.html").resolve().as_uri())
    assert page.locator("figure img").count() == 8
    assert not page.locator("#controls").is_visible()
    page.close()


def test_of_many_images_only_those_in_sight_are_read(tab: Tab) -> None:
    images = tuple(image(f"p{number:03d}", seed, 0.0) for number in range(60) for seed in range(5))
    write_run(Path("run"), base=manifest().model_copy(update={"images": images}), make=lambda _: pixels(0, (64, 64)))
    opened(tab)
    assert tab.page.locator("figure").count() == 300
    read = {address for address in tab.seen.requests if address.endswith(".png")}
    assert 5 <= len(read) < 200
    assert tab.seen.errors == []
