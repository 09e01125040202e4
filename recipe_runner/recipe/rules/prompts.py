"""Rules about prompts, seeds, how many images there are, and mappings without contents."""

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
    """E310: ids of prompts differ, those by position among them."""
    first: dict[str, int] = {}
    for index, (given, prompt) in enumerate(view.prompts):
        # Names of image files must differ on file systems that ignore case, too.
        folded = given.casefold()
        if folded in first:
            other = view.prompts[first[folded]][0]
            message = f"the id `{shown(given)}` is also that of prompt {first[folded] + 1}"
            if other != given:
                message = f"the ids `{shown(given)}` and `{shown(other)}` differ in case only, which file names may not"
            has_id = "id" in prompt
            if not has_id:
                message += f": without an id, prompt {index + 1} is called `{given}`"
            path: RecipePath = ("prompts", index, "id") if has_id else ("prompts", index)
            yield Finding("E310", message, path, "Give each prompt an id of its own.")
        else:
            first[folded] = index


def images(view: View) -> Iterator[Finding]:
    """E313, E314: a prompt's images are for image prompt adapters of the recipe."""
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
                message = f"`{name}` is of kind {shown(kind)}, and only an ip_adapter takes images"
                yield Finding("E314", message, path, did_you_mean("", takers, "Image prompt adapters"), key=True)


def encoders(view: View) -> Iterator[Finding]:
    """E336: the pipeline takes each text that the prompts give it."""
    entry = view.pipeline_entry
    if entry is None:
        return
    for index, (_, prompt) in enumerate(view.prompts):
        for key in _PROMPT_KEYS:
            if prompt.get(key) is not None and key not in entry["parameters"]:
                message = f"`{view.pipeline}` takes no `{key}`"
                yield Finding("E336", message, ("prompts", index, key), "Delete it.", key=True)


def notations(view: View) -> Iterator[Finding]:
    """W764: what other programs read as an adapter or as emphasis stands in a prompt, where it is plain text."""
    for index, (_, prompt) in enumerate(view.prompts):
        for key in ("prompt", *_PROMPT_KEYS):
            text = prompt.get(key)
            if not isinstance(text, str):
                continue
            path = ("prompts", index, key)
            if found := _TAG.search(text):
                message = f"`{shown(found[0])}` is read as plain text: prompts name no adapters"
                hint = "Name the file under `adapters`, and write its strength as `scale`."
                yield Finding("W764", message, path, hint, severity="warning")
            elif found := _EMBEDDING.search(text):
                message = f"`{shown(found[0])}` is ComfyUI's notation: a learned token stands in a prompt by itself"
                hint = f"Write `{shown(found[1])}`, and the file under `adapters` as a textual_inversion of that token."
                yield Finding("W764", message, path, hint, severity="warning")
            elif found := _EMPHASIS.search(text):
                message = f"`{shown(found[0])}` is read as plain text: prompts have no emphasis"
                hint = "Leave the brackets and the number out, or say it in words."
                yield Finding("W764", message, path, hint, severity="warning")


def seeds(view: View) -> Iterator[Finding]:
    """E311, E206: seeds differ, and a range of them stays within 64 bits."""
    section = view.tree.get("seeds")
    first: dict[int, int] = {}
    for index, seed in enumerate(elements(section)):
        if isinstance(seed, bool) or not isinstance(seed, int):
            continue
        if seed in first:
            message = f"the seed {seed} stands here and at `seeds[{first[seed]}]`, and would make the same images"
            yield Finding("E311", message, ("seeds", index), "Delete one of the two.")
        first.setdefault(seed, index)
    start, count = mapping(section).get("start", 0), mapping(section).get("count", 0)
    if isinstance(start, int) and isinstance(count, int) and start + count - 1 > LARGEST_INTEGER >= start:
        message = f"the last seed would be {start + count - 1}; the largest is {LARGEST_INTEGER}"
        yield Finding("E206", message, ("seeds", "count"))


def count_images(tree: Mapping[str, Json]) -> int:
    """Prompts times seeds of a recipe without its matrix."""
    given = tree.get("seeds")
    if isinstance(given, Mapping):
        count = given.get("count", 1)
        number = count if isinstance(count, int) else 1
    else:
        number = len(elements(given)) if given is not None else 1
    return number * len(elements(tree.get("prompts")))


def empties(view: View) -> Iterator[Finding]:
    """W335: no empty mapping, which says nothing; an empty scale of an image prompt adapter even switches it off."""
    pending: list[tuple[RecipePath, Json]] = [((name,), view.tree[name]) for name in view.tree if name != "matrix"]
    axes = mapping(view.tree.get("matrix"))
    if axes == {} and "matrix" in view.tree:
        pending.append((("matrix",), {}))
    while pending:
        path, value = pending.pop()
        if isinstance(value, Mapping):
            pending.extend(((*path, name), item) for name, item in value.items())
            # Where a whole section is an axis, one of its values may be no adapters, or no arguments.
            if not value and not (len(path) == 1 and path[0] in axes):
                message = f"`{format_path(path)}` is empty, and says nothing"
                yield Finding("W335", message, path, "Delete it, or write something.", severity="warning")
        else:
            pending.extend(((*path, index), item) for index, item in enumerate(elements(value)))
