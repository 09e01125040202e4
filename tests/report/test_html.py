"""The report shows the run, and prompts are text, never markup."""

from __future__ import annotations

from html.parser import HTMLParser

from support.manifests import manifest

from recipe_runner.record.manifest import Failure, Manifest
from recipe_runner.report.html import PromptText, report_html

PROMPTS = {"bears": PromptText(prompt="bears & <b>pizza</b>", negative_prompt='"><script>alert(1)</script>')}


class Page(HTMLParser):
    """The page's elements and text; it must be well formed."""

    EMPTY = ("meta", "img", "br")

    def __init__(self, data: bytes) -> None:
        """Read the whole page."""
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
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
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        """Note text."""
        self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        """The attributes of every element with this tag."""
        return [attributes for name, attributes in self.elements if name == tag]


def test_every_image_is_linked_with_its_size() -> None:
    page = Page(report_html(manifest(), PROMPTS))
    images = page.all("img")
    assert {image["src"] for image in images} == {image.path for image in manifest().images}
    assert {link["href"] for link in page.all("a")} == {image["src"] for image in images}
    # 64x48 is tiny: enlarged a whole number of times, its pixels as squares.
    assert {(image["width"], image["height"], image["class"]) for image in images} == {("192", "144", "tiny")}
    assert all(image["loading"] == "lazy" for image in images)
    assert page.text.count("other environment") == 1


def test_rows_are_prompts_and_seeds_and_columns_variants() -> None:
    page = Page(report_html(manifest(), PROMPTS))
    assert "cereal.scale" in page.text
    assert len(page.all("figure")) == 8
    for text in ("seed 33", "seed 34", "0.0", "0.5", "264/264", "ostris/super-cereal-sdxl-lora", "2.13.0+cpu"):
        assert text in page.text


def test_prompts_are_text() -> None:
    data = report_html(manifest(), PROMPTS)
    page = Page(data)
    assert "bears & <b>pizza</b>" in page.text
    assert '"><script>alert(1)</script>' in page.text
    assert not page.all("script")
    assert not page.all("b")
    policy = next(meta["content"] for meta in page.all("meta") if meta.get("http-equiv"))
    assert policy is not None
    assert policy.startswith("default-src 'none'")
    assert b"http://" not in data
    assert b"https://" not in data


def test_the_same_run_gives_the_same_page() -> None:
    assert report_html(manifest(), PROMPTS) == report_html(manifest(), dict(PROMPTS))


def test_a_failed_run_says_so() -> None:
    failure = Failure(code="E702", message="the image has <NaN> pixels")
    tree = manifest().model_dump() | {"status": "failed", "failure": failure, "images": manifest().images[:3]}
    page = Page(report_html(Manifest.model_validate(tree), {}))
    assert "Not complete: E702: the image has <NaN> pixels" in page.text
    assert len(page.all("figure")) == 3
    assert "3 images" in page.text


def test_a_run_without_images_sources_and_git() -> None:
    update = {"images": (), "sources": (), "adapters": (), "git": None, "lock_sha256": None, "overrides": ()}
    page = Page(report_html(manifest().model_copy(update=update), {}))
    assert "0 images" in page.text


def test_missing_cells_are_said() -> None:
    page = Page(report_html(manifest().model_copy(update={"images": manifest().images[:5]}), {}))
    assert page.text.count("not made") == 3
