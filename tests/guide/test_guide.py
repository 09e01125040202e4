"""The guide: its command, its links, and what is generated in it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from guide.renew import generated
from guide.snippets import GUIDE, PAGES
from support.command import ROOT, call

from recipe_runner.cli.guide import KINDS, pages, printable
from recipe_runner.cli.main import COMMANDS
from recipe_runner.recipe.schema.check import RECIPE, load_schema

_LINK = re.compile(r"!?\[[^\]]*\]\(([^()\s]+)\)|<img[^>]* src=\"([^\"]+)\"")
_CODE = re.compile(r"^```.*?^```$|`[^`\n]*`", re.MULTILINE | re.DOTALL)
LONGEST_README = 1_800


def test_without_a_topic_every_page_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    listed = call(capsys, "guide")
    assert listed.status == 0
    for page in pages().values():
        assert re.search(rf"^  {page.topic} +{re.escape(page.title)}$", listed.out, re.MULTILINE)
    files = {path.stem for kind in KINDS for path in (GUIDE / kind).iterdir()}
    assert files == set(pages())
    assert {path.name for path in GUIDE.iterdir()} == {*KINDS, "README.md"}


def test_a_topic_is_printed_as_markdown(capsys: pytest.CaptureFixture[str]) -> None:
    page = call(capsys, "guide", "first-run")
    assert page.status == 0
    assert page.out.startswith("# First run\n")
    assert "<!--" not in page.out
    assert "(`recipe-runner guide own-lora`)" in page.out
    assert "\x1b" not in page.out


def test_a_printed_page_links_to_the_web_only() -> None:
    for page in pages().values():
        found = [first or second for first, second in _LINK.findall(_CODE.sub("", printable(page.text)))]
        assert [target for target in found if not target.startswith("https://")] == [], page.topic


def test_as_json_it_is_one_object(capsys: pytest.CaptureFixture[str]) -> None:
    topics = json.loads(call(capsys, "guide", "--format", "json").out)["topics"]
    assert [topic["topic"] for topic in topics] == list(pages())
    page = json.loads(call(capsys, "guide", "Sweep", "--format", "json").out)
    assert list(page) == ["topic", "kind", "title", "page"]
    assert (page["topic"], page["kind"]) == ("sweep", "how-to")


@pytest.mark.parametrize(
    ("typed", "hint"),
    [("swep", "Did you mean `sweep`?"), ("../README", "lists the topics"), ("zzz", "lists the topics")],
)
def test_a_wrong_topic_is_2_with_what_was_meant(typed: str, hint: str, capsys: pytest.CaptureFixture[str]) -> None:
    answer = call(capsys, "guide", typed)
    assert (answer.status, answer.out) == (2, "")
    assert hint in answer.err


def test_on_a_terminal_it_is_rendered() -> None:
    words = [sys.executable, "-m", "recipe_runner", "guide", "sweep"]
    script = f"import pty, sys, os; sys.exit(os.waitstatus_to_exitcode(pty.spawn({words!r})))"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, check=False)
    assert done.returncode == 0
    assert b"\x1b[" in done.stdout
    assert b"## " not in done.stdout


@pytest.mark.parametrize("path", list(generated()), ids=lambda path: str(path.relative_to(ROOT)))
def test_what_is_generated_is_current(path: Path) -> None:
    assert path.read_text(encoding="utf-8") == generated()[path], "run `python tests/guide/renew.py`"


def test_every_command_has_a_row_for_its_json() -> None:
    page = pages()["json-output"].text
    first = "".join(line.split("|")[1] for line in page.splitlines() if line.startswith("| "))
    assert [name for name in COMMANDS if f"`{name}" not in first] == []


def test_the_contributing_page_names_every_package() -> None:
    page = pages()["contributing"].text
    packages = {path.parent.name for path in (ROOT / "recipe_runner").glob("*/__init__.py")}
    named = set(re.findall(r"`([a-z]+)`", page.partition("## The packages")[2].partition("## Add")[0]))
    assert packages <= named


def keys(schema: Any) -> set[str]:
    """Every key that a recipe may have, at any depth."""
    if isinstance(schema, list):
        return set().union(*map(keys, schema))
    if not isinstance(schema, dict):
        return set()
    parts = {name: part for name, part in schema.items() if name not in ("if", "examples", "default")}
    return set(schema.get("properties", ())).union(*map(keys, parts.values()))


def test_the_reference_has_every_key_of_a_recipe() -> None:
    written = {key.rpartition(".")[2] for key in re.findall(r"^\| \[?`([\w.]+)`", pages()["recipe"].text, re.MULTILINE)}
    wanted = keys(load_schema(RECIPE))
    assert len(wanted) > 50
    assert wanted - written == set()


def anchors(text: str) -> set[str]:
    """The anchors that GitHub gives to the headings of a page."""
    plain = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    found: set[str] = set()
    for heading in re.findall(r"^#+ (.+)$", plain, re.MULTILINE):
        words = re.sub(r"[^\w\- ]", "", re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower())
        found.add(words.replace(" ", "-"))
    return found


@pytest.mark.parametrize(
    "page", [*PAGES, ROOT / "recipes/demo/README.md"], ids=lambda page: str(page.relative_to(ROOT))
)
def test_every_link_leads_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for groups in _LINK.findall(_CODE.sub("", text)):
        target = groups[0] or groups[1]
        if target.startswith("https://"):
            continue
        file, _, anchor = target.partition("#")
        path = (page.parent / file) if file else page
        assert path.exists(), f"{page.name}: {target}"
        if anchor:
            assert anchor in anchors(path.read_text(encoding="utf-8")), f"{page.name}: {target}"


def test_every_page_is_linked_from_the_readme_or_another_page() -> None:
    linked: set[Path] = set()
    for page in PAGES:
        if page == GUIDE / "README.md":
            continue
        for groups in _LINK.findall(_CODE.sub("", page.read_text(encoding="utf-8"))):
            linked.add((page.parent / (groups[0] or groups[1]).partition("#")[0]).resolve())
    assert {page.topic for page in pages().values() if GUIDE / page.kind / f"{page.topic}.md" not in linked} == set()


def test_the_readme_is_short_and_its_images_are_small() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(readme.split()) <= LONGEST_README
    images = [ROOT / (first or second) for first, second in _LINK.findall(readme) if (first or second).endswith(".png")]
    assert images
    assert sum(path.stat().st_size for path in images) < 300_000
