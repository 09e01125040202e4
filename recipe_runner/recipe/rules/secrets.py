"""No address in a recipe holds a credential: recipes, locks and manifests are read by others."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from recipe_runner.problems.credentials import credential_in
from recipe_runner.problems.problem import Problem
from recipe_runner.recipe.finding import Finding

if TYPE_CHECKING:
    from recipe_runner.canonical import Json
    from recipe_runner.document.document import Document
    from recipe_runner.document.paths import RecipePath

HINT = (
    "take it out; a Civitai token goes into the environment variable CIVITAI_TOKEN, a Hub token into HF_TOKEN, and a "
    "file behind another login is downloaded by hand and named by its path"
)
_COMMENT = re.compile(r"(?:^|\s)#(.*)$")


def secret_message(what: str) -> str:
    """What is wrong with an address that holds `what`."""
    return f"the address holds a secret ({what}), which recipes, locks and manifests must not"


def in_values(tree: Json, path: RecipePath = ()) -> Iterator[Finding]:
    """E439 for each text of a recipe, a prompt's and a name's as well, that holds an address with a credential."""
    if isinstance(tree, str):
        if what := credential_in(tree):
            yield Finding("E439", secret_message(what), path, HINT)
    elif isinstance(tree, dict):
        for key, value in tree.items():
            if what := credential_in(key):
                yield Finding("E439", secret_message(what), (*path, key), HINT, key=True)
            yield from in_values(value, (*path, key))
    elif isinstance(tree, list):
        for index, value in enumerate(tree):
            yield from in_values(value, (*path, index))


def in_comments(document: Document) -> Iterator[Problem]:
    """E439 for each comment that does: a run keeps the recipe as it was written."""
    for number, line in enumerate(document.origin.lines, start=1):
        comment = _COMMENT.search(line)
        if comment and (what := credential_in(comment[1])):
            place = document.origin.at(number, comment.start(1) + 1, len(comment[1]))
            yield Problem.at(place, "E439", secret_message(what), HINT)
