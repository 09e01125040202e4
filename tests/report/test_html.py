"""The report shows runs, works without scripts, fetches nothing, and prompts are text, never markup."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from support.command import ROOT, call
from support.manifests import image, manifest
from support.runs import pixels, write_run

from recipe_runner.actions.write_views import report_of
from recipe_runner.record.manifest import Failure, manifest_bytes

HOSTILE = "</script><script>alert(1)</script> \"><img src=x onerror=alert(2)> \u2028 {{ 7 * 7 }} ' & <!-- ]]>"
SHOWN = HOSTILE.replace("\u2028", r"\u2028")


class Page(HTMLParser):
    """The page's elements and text; it must be well formed."""

    EMPTY = ("meta", "img", "br", "input", "rect", "path")

    def __init__(self, data: bytes) -> None:
        """Read the whole page."""
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.scripts: list[tuple[str | None, str]] = []
        self._open: list[str] = []
        self.feed(data.decode("utf-8"))
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note an element; all but a few must be closed."""
        self.elements.append((tag, dict(attrs)))
        if tag not in self.EMPTY:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        """Close the innermost element."""
        if tag not in self.EMPTY:
            assert self._open.pop() == tag

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note an element that closes itself."""
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        """Note text, and scripts apart."""
        if self._open and self._open[-1] == "script":
            self.scripts.append((self.elements[-1][1].get("type"), data))
        elif not self._open or self._open[-1] != "style":
            self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        """The attributes of every element with this tag."""
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def data(self) -> Any:
        """What the scripts are given."""
        return json.loads(next(text for kind, text in self.scripts if kind == "application/json"))


def page_of(*folders: str, embed: bool = False) -> Page:
    """The report of runs, as a page in the current folder."""
    return Page(report_of([Path(folder) for folder in folders or ("run",)], Path(), embed=embed))


def rewritten(folder: str = "run", **update: Any) -> None:
    """Change the manifest of a run."""
    made = write_run(Path(folder))
    (Path(folder) / "manifest.json").write_bytes(manifest_bytes(made.model_copy(update=update)))


def cells(page: Page) -> Sequence[dict[str, str | None]]:
    """The pictures of the sheet."""
    return [image for image in page.all("img") if image.get("loading")]


def test_every_image_is_linked_with_its_size() -> None:
    made = write_run(Path("run"))
    page = page_of()
    images = cells(page)
    assert [image["src"] for image in images] != []
    assert {image["src"] for image in images} == {f"run/{image.path}" for image in made.images}
    assert {link["href"] for link in page.all("a")} == {image["src"] for image in images}
    # 64x48 is tiny: enlarged a whole number of times, its pixels as squares.
    assert {(image["width"], image["height"], image["class"]) for image in images} == {("192", "144", "tiny")}
    assert {image["loading"] for image in images} == {"lazy"}
    assert page.text.count("other environment") == 1


def test_rows_are_prompts_and_seeds_and_columns_variants() -> None:
    write_run(Path("run"))
    page = page_of()
    assert len(page.all("figure")) == 8
    for text in ("cereal.scale", "seed 33", "seed 34", "0.0", "0.5", "264/264", "ostris/super-cereal-sdxl-lora"):
        assert text in page.text
    assert "2.13.0+cpu" in page.text
    head = [attributes for attributes in page.all("th") if attributes.get("rowspan")]
    assert [attributes["rowspan"] for attributes in head] == ["2", "1", "1"] * 2


def test_recipe_lock_timings_and_warnings_are_there_and_no_host() -> None:
    write_run(Path("run"))
    page = page_of()
    for text in ("num_inference_steps: 10", "lock: 1", "denoise", "7.500", "75.0", "a prompt is too long [W751]"):
        assert text in page.text
    assert "secret-host" not in page.text


def test_each_image_has_its_prompt_scales_digests_and_what_makes_it_again() -> None:
    made = write_run(Path("run"))
    data = page_of().data
    told = data["images"][4]
    assert data["asked"][told["asked"]] == {
        "texts": {"prompt": "bears"},
        "scales": {"cereal": "0.5"},
        "sampling": {"num_inference_steps": "10"},
    }
    assert (told["facts"]["node key"], told["facts"]["pixel sha256"]) == (
        made.images[4].node_key, made.images[4].pixel_sha256
    )  # fmt: skip
    assert (told["file"], data["runs"][told["run"]]["resolved"]) == ("bears-33-0.5.png", "run/resolved.yaml")
    assert "made elsewhere" in data["images"][7]["facts"]


def test_hostile_texts_are_text() -> None:
    hostile = image("bears", 33, 0.0).model_copy(update={"variant": {f"adapters.{HOSTILE}.scale": HOSTILE}})
    rewritten(images=(hostile,), overrides=(HOSTILE,), name=HOSTILE, failure=Failure(code="E704", message=HOSTILE))
    for name in ("recipe.yaml", "recipe.lock.yaml"):
        Path("run", name).write_text(HOSTILE)
    resolved = Path("run/resolved.yaml")
    resolved.write_text(resolved.read_text().replace("prompt: bears}", f"prompt: {json.dumps(HOSTILE)}}}"))
    telemetry = {"telemetry": 1, "invocations": [{"warnings": [HOSTILE], "seconds": {HOSTILE: 1}, "started": HOSTILE}]}
    Path("run/telemetry.json").write_text(json.dumps(telemetry))
    page = page_of()
    assert page.text.count(SHOWN) >= 8
    # The scripts are ours alone, and what they are given is data.
    assert len(page.scripts) == 8
    assert all("alert" not in text for kind, text in page.scripts if kind is None)
    assert SHOWN in page.data["images"][0]["name"]
    assert {img["src"] for img in cells(page)} == {"run/images/bears-33-0.0.png"}
    assert all(name.islower() and not name.startswith("on") for _, attributes in page.elements for name in attributes)


def test_a_prompt_of_a_stranger_is_text(capsys: pytest.CaptureFixture[str]) -> None:
    write_run(Path("run"))
    text = Path("run/resolved.yaml").read_text().replace("prompt: bears}", f"prompt: {json.dumps(HOSTILE)}}}")
    Path("run/resolved.yaml").write_text(text)
    Path("run").rename("a run's <b>folder<b>")
    assert call(capsys, "report", "a run's <b>folder<b>").out == "a run's <b>folder<b>/report.html\n"
    page = Page(Path("a run's <b>folder<b>/report.html").read_bytes())
    assert page.text.count(SHOWN) == 1
    assert page.data["asked"][0]["texts"]["prompt"] == SHOWN
    assert not page.all("b")


def test_the_policy_runs_only_the_scripts_of_the_page_and_fetches_nothing() -> None:
    write_run(Path("run"))
    page = page_of()
    policy = next(meta["content"] for meta in page.all("meta") if meta.get("http-equiv")) or ""
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    assert rules["img-src"] == "'self' file: data:"
    digests = [
        f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
        for kind, text in page.scripts
        if kind is None
    ]
    assert rules["script-src"].split() == digests
    assert "unsafe" not in policy
    linked = [value for _, attributes in page.elements for value in attributes.values() if value and "://" in value]
    assert linked == []


def test_the_same_run_gives_the_same_page() -> None:
    write_run(Path("run"))
    assert report_of([Path("run")], Path("run")) == report_of([Path("run")], Path("run"))


def test_a_failed_run_says_so() -> None:
    failure = Failure(code="E702", message="the image has <NaN> pixels")
    rewritten(status="failed", failure=failure, images=manifest().images[:3])
    page = page_of()
    assert "Incomplete: E702: the image has <NaN> pixels" in page.text
    assert len(page.all("figure")) == 3
    assert "3 images" in page.text


def test_a_run_of_which_only_the_manifest_is_left() -> None:
    rewritten(images=(), sources=(), adapters=(), git=None, lock_sha256=None, overrides=())
    for path in Path("run").iterdir():
        if path.is_file() and path.name != "manifest.json":
            path.unlink()
    page = page_of()
    for text in (
        "0 images",
        "recipe.yaml is missing from",
        "resolved.yaml is missing from",
        "telemetry.json is missing from",
    ):
        assert text in page.text


def test_missing_cells_are_said() -> None:
    rewritten(images=manifest().images[:5])
    assert page_of().text.count("not made") == 3


def test_several_runs_stand_beside_each_other() -> None:
    write_run(Path("a"))
    write_run(Path("b"), plan_digest="f" * 64)
    page = page_of("a", "b")
    assert len(page.all("figure")) == 16
    assert [axis["id"] for axis in page.data["axes"]] == ["adapters.cereal.scale", "run", "prompt", "seed"]
    assert f"cereal-or-film {'f' * 12}" in page.text


def test_large_pictures_are_shown_as_thumbnails() -> None:
    made = write_run(Path("run"), {0: pixels(1, (300, 600))})
    for _ in range(2):
        page = page_of()
        first, second, *_ = cells(page)
        assert first["src"] == f"run/thumbnails/{made.images[0].pixel_sha256[:16]}.webp"
        assert (first["width"], first["height"], second["src"]) == ("256", "128", "run/images/bears-33-0.5.png")
        with Image.open(str(first["src"])) as thumbnail:
            assert thumbnail.size == (256, 128)
        assert page.data["images"][0]["href"] == "run/images/bears-33-0.0.png"
    # Of a picture that is gone there is none.
    Path(str(first["src"])).unlink()
    Path("run", made.images[0].path).unlink()
    assert cells(page_of())[0]["src"] == "run/images/bears-33-0.0.png"


def test_a_page_to_send_carries_its_pictures() -> None:
    write_run(Path("run"))
    page = page_of(embed=True)
    first = cells(page)[0]["src"] or ""
    assert first.startswith("data:image/png;base64,")
    assert base64.b64decode(first.partition(",")[2]) == Path("run/images/bears-33-0.0.png").read_bytes()
    assert page.data["images"][0]["href"] is None


def test_the_build_graph_is_drawn_from_the_resolved_recipe(capsys: pytest.CaptureFixture[str]) -> None:
    write_run(Path("run"))
    assert "Not drawn: the inputs have changed" in page_of().text
    plan = json.loads(call(capsys, "plan", "run/resolved.yaml", "--format", "json").out)
    (Path("run") / "manifest.json").write_bytes(
        manifest_bytes(manifest().model_copy(update={"plan_digest": plan["plan_digest"]}))
    )
    page = page_of()
    assert f"{len(plan['nodes'])} nodes" in page.text
    assert re.search(r"denoise \[33\]", page.text)


def test_no_manifest_is_3(capsys: pytest.CaptureFixture[str]) -> None:
    answer = call(capsys, "report", "nothing")
    assert (answer.status, "error[E802]" in answer.err) == (3, True)


def test_the_shipped_libraries_are_named_with_their_licence() -> None:
    vendor = ROOT / "recipe_runner/report/page/vendor"
    notice = (vendor / "NOTICE").read_text()
    assert all(path.name in notice for path in vendor.glob("*.js"))
    assert "MIT licence" in notice
