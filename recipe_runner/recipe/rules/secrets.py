"""Refuse credentials in addresses, because others read recipes, locks and manifests."""

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
    "delete it: put a Civitai token into the environment variable CIVITAI_TOKEN and a Hub token into HF_TOKEN; "
    "download a file behind another login by hand, and name it by its path"
)
_COMMENT = re.compile(r"(?:^|\s)#(.*)$")


def secret_message(what: str) -> str:
    """The message for an address that contains `what`."""
    return f"the address contains a secret ({what}); recipes, locks and manifests must not contain any"


def in_values(tree: Json, path: RecipePath = ()) -> Iterator[Finding]:
    """E439 for each text of a recipe, also in prompts and names, that contains an address with a credential."""
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
    """E439 for each comment with such an address: a run keeps the text of the recipe."""
    for number, line in enumerate(document.origin.lines, start=1):
        comment = _COMMENT.search(line)
        if comment and (what := credential_in(comment[1])):
            place = document.origin.at(number, comment.start(1) + 1, len(comment[1]))
            yield Problem.at(place, "E439", secret_message(what), HINT)
