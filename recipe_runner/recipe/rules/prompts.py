"""Rules for prompts, seeds, the number of images, and empty mappings."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from recipe_runner.canonical import elements, mapping
from recipe_runner.document.paths import format_path
from recipe_runner.document.scalars import LARGEST_INTEGER
from recipe_runner.problems.suggest import did_you_mean
from recipe_runner.problems.wording import shown
from recipe_runner.recipe.finding import Finding

if TYPE_CHECKING:
    from recipe_runner.canonical import Json
    from recipe_runner.document.paths import RecipePath
    from recipe_runner.recipe.rules.view import View

_TAG = re.compile(r"<(?:lora|lyco|locon|loha|hypernet):[^<>:]{1,300}(?::[^<>]{0,300})?>", re.IGNORECASE)
_EMPHASIS = re.compile(r"\((?:[^()]){1,2000}:\s*[0-9]*\.[0-9]+\s*\)")
_EMBEDDING = re.compile(r"\bembedding:\s*([^\s,:()]{1,200})", re.IGNORECASE)
_PROMPT_KEYS = ("prompt_2", "prompt_3", "negative_prompt", "negative_prompt_2", "negative_prompt_3")


def ids(view: View) -> Iterator[Finding]:
    """E310: all ids of prompts are different, including those by position."""
    first: dict[str, int] = {}
    for index, (given, prompt) in enumerate(view.prompts):
        # Names of image files must differ on file systems that ignore case, too.
        folded = given.casefold()
        if folded not in first:
            first[folded] = index
            continue
        other = view.prompts[first[folded]][0]
        message = f"duplicate id `{shown(given)}` (also of prompt {first[folded] + 1})"
        if other != given:
            message = f"the ids `{shown(given)}` and `{shown(other)}` differ only in case, which file names cannot"
        path: RecipePath = ("prompts", index, "id")
        if "id" not in prompt:
            message += f": without an id, prompt {index + 1} is called `{given}`"
            path = ("prompts", index)
        yield Finding("E310", message, path, "Give each prompt its own id.")


def images(view: View) -> Iterator[Finding]:
    """E313, E314: the images of a prompt are for image prompt adapters of the recipe."""
    takers = view.ip_adapters
    every = mapping(view.tree.get("adapters"))
    for index, (_, prompt) in enumerate(view.prompts):
        for name in mapping(prompt.get("images")):
            path = ("prompts", index, "images", name)
            if name not in every:
                hint = did_you_mean(name, takers, "Image prompt adapters") or "The recipe has no image prompt adapter."
                yield Finding("E313", f"no adapter is called `{shown(name)}`", path, hint, key=True)
            elif name not in takers and isinstance(every[name], Mapping):
                kind = mapping(every[name]).get("kind")
                message = f"`{name}` is of kind {shown(kind)}; only an ip_adapter takes images"
                yield Finding("E314", message, path, did_you_mean("", takers, "Image prompt adapters"), key=True)


def encoders(view: View) -> Iterator[Finding]:
    """E336: the pipeline takes all texts of the prompts."""
    entry = view.pipeline_entry
    if entry is None:
        return
    for index, (_, prompt) in enumerate(view.prompts):
        for key in _PROMPT_KEYS:
            if prompt.get(key) is not None and key not in entry["parameters"]:
                message = f"`{view.pipeline}` does not take `{key}`"
                yield Finding("E336", message, ("prompts", index, key), "Delete it.", key=True)


def notations(view: View) -> Iterator[Finding]:
    """W764: a prompt contains the notation of another program for an adapter or for emphasis."""
    for index, (_, prompt) in enumerate(view.prompts):
        for key in ("prompt", *_PROMPT_KEYS):
            text = prompt.get(key)
            if not isinstance(text, str):
                continue
            notation = _notation(text)
            if notation is not None:
                message, hint = notation
                yield Finding("W764", message, ("prompts", index, key), hint, severity="warning")


def _notation(text: str) -> tuple[str, str] | None:
    """The message and the hint for the first notation of another program in a prompt."""
    if found := _TAG.search(text):
        hint = "Name the file under `adapters`, and write its strength as `scale`."
        return f"`{shown(found[0])}` is read as plain text: prompts cannot load adapters", hint
    if found := _EMBEDDING.search(text):
        hint = f"Write only `{shown(found[1])}`, and add the file to `adapters` as a textual_inversion of that token."
        return f"`{shown(found[0])}` is ComfyUI's notation: prompts use a learned token without it", hint
    if found := _EMPHASIS.search(text):
        hint = "Delete the brackets and the number, or say it in words."
        return f"`{shown(found[0])}` is read as plain text: prompts have no emphasis", hint
    return None


def seeds(view: View) -> Iterator[Finding]:
    """E311, E206: all seeds are different, and a range of seeds stays within 64 bits."""
    section = view.tree.get("seeds")
    first: dict[int, int] = {}
    for index, seed in enumerate(elements(section)):
        if isinstance(seed, bool) or not isinstance(seed, int):
            continue
        if seed in first:
            message = f"duplicate seed {seed} (also at `seeds[{first[seed]}]`): it makes the same images"
            yield Finding("E311", message, ("seeds", index), "Delete one of the two.")
        first.setdefault(seed, index)
    start, count = mapping(section).get("start", 0), mapping(section).get("count", 0)
    if isinstance(start, int) and isinstance(count, int) and start + count - 1 > LARGEST_INTEGER >= start:
        message = f"the last seed is {start + count - 1}; the largest possible one is {LARGEST_INTEGER}"
        yield Finding("E206", message, ("seeds", "count"))


def count_images(tree: Mapping[str, Json]) -> int:
    """The number of prompts times the number of seeds, without the matrix."""
    return _count_seeds(tree.get("seeds")) * len(elements(tree.get("prompts")))


def _count_seeds(seeds: Json) -> int:
    if seeds is None:
        return 1
    if not isinstance(seeds, Mapping):
        return len(elements(seeds))
    count = seeds.get("count", 1)
    return count if isinstance(count, int) else 1


def empties(view: View) -> Iterator[Finding]:
    """W335: no empty mappings; an empty scale of an image prompt adapter even switches it off."""
    axes = mapping(view.tree.get("matrix"))
    for name, section in view.tree.items():
        # When a whole section is an axis, one of its values can be no adapters, or no arguments.
        if name in axes and section == {}:
            continue
        # The values of axes are checked as parts of the variants.
        if name == "matrix" and axes:
            continue
        for path in _empty_mappings(section, (name,)):
            message = f"`{format_path(path)}` is empty and has no effect"
            yield Finding("W335", message, path, "Delete it, or write a value.", severity="warning")


def _empty_mappings(value: Json, path: RecipePath) -> Iterator[RecipePath]:
    if isinstance(value, Mapping):
        if not value:
            yield path
        for name, item in value.items():
            yield from _empty_mappings(item, (*path, name))
    else:
        for index, item in enumerate(elements(value)):
            yield from _empty_mappings(item, (*path, index))
