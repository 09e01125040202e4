"""The registry of codes: each is raised somewhere, has a page, and its page's example raises it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from support.cases import INVALID, problems_of_case

from recipe_runner.document.document import parse_document
from recipe_runner.problems.codes import CODES, explain
from recipe_runner.problems.problem import RecipeRunnerError

PACKAGE = Path(__file__).parents[2] / "recipe_runner"
SOURCES = {path: path.read_text(encoding="utf-8") for path in PACKAGE.rglob("*.py") if path.name != "codes.py"}
WRITTEN = {code for text in SOURCES.values() for code in re.findall(r'"([EW][1-9][0-9]{2})"', text)}


def test_codes_and_pages_are_the_same_set() -> None:
    pages = {path.stem for path in (PACKAGE / "problems/pages").rglob("*.md")}
    assert pages == set(CODES)


@pytest.mark.parametrize("code", sorted(CODES))
def test_a_code_is_raised_somewhere_and_documented(code: str) -> None:
    assert code in WRITTEN, f"no module raises {code}"
    page = explain(code)
    assert page.startswith(f"# {code}: {CODES[code].title}\n")
    for section in ("## Example", "## What to do"):
        assert section in page


def test_every_code_that_is_raised_is_registered() -> None:
    assert set(CODES) >= WRITTEN


def test_the_cases_raise_every_code_of_text_shape_and_rules() -> None:
    raised = {problem.code for path in INVALID for problem in problems_of_case(path)}
    # A file that cannot be read or is too large is no case for a folder of recipes.
    assert {code for code in CODES if code[1] in "123"} - raised == {"E103", "E118"}


@pytest.mark.parametrize(
    "code", sorted(code for code in CODES if code.startswith("E1") and code not in ("E103", "E118"))
)
def test_the_example_of_a_text_page_raises_its_code(code: str) -> None:
    (example,) = re.findall(r"```yaml\n(.*?)```", explain(code), flags=re.DOTALL)
    data = example.replace("<U+2028>", "\u2028").encode().replace(b"\\xe9", b"\xe9")
    if code == "E113":
        data += b"c: &c [*b, *b, *b, *b, *b, *b, *b, *b]\nd: &d [*c, *c, *c, *c, *c, *c, *c, *c]\n"
        data += b"e: &e [*d, *d, *d, *d, *d, *d, *d, *d]\nf: [*e, *e, *e, *e, *e, *e, *e, *e]\n"
    with pytest.raises(RecipeRunnerError) as caught:
        parse_document(data, "page")
    assert code in {problem.code for problem in caught.value.problems}


def test_an_unknown_code_has_no_page() -> None:
    with pytest.raises(KeyError):
        explain("E000")
