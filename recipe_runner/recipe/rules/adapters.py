"""Rules about adapters: scales, merges, image prompts, and whether the pipeline takes them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING

from recipe_runner.canonical import elements, mapping
from recipe_runner.problems.suggest import did_you_mean
from recipe_runner.problems.wording import listed, shown
from recipe_runner.recipe.finding import Finding
from recipe_runner.recipe.learned_tokens import misspelt, occurrences, same_token

if TYPE_CHECKING:
    from recipe_runner.canonical import Json
    from recipe_runner.document.paths import RecipePath
    from recipe_runner.recipe.rules.view import View

DIRECTIONS = ("down", "mid", "up")
JOINT = "transformer_blocks"
"""The blocks of a transformer that IP-Adapters act in."""
_MOST_NAMED = 3
_BLOCK = re.compile(r"block_(0|[1-9][0-9]?)")
TEXTS = ("prompt", "prompt_2", "prompt_3", "negative_prompt", "negative_prompt_2", "negative_prompt_3")

# peft's add_weighted_adapter: which options a combination type reads.
_WITH_DENSITY = (
    "ties", "ties_svd", "dare_linear", "dare_ties", "dare_linear_svd", "dare_ties_svd", "magnitude_prune",
    "magnitude_prune_svd",
)  # fmt: skip
MERGE_OPTIONS = {
    "density": _WITH_DENSITY,
    "majority_sign_method": ("ties", "ties_svd", "dare_ties", "dare_ties_svd"),
    "svd_rank": ("svd", "ties_svd", "dare_linear_svd", "dare_ties_svd", "magnitude_prune_svd"),
    "seed": ("dare_linear", "dare_ties", "dare_linear_svd", "dare_ties_svd"),
}


def fitting(view: View) -> Iterator[Finding]:
    """E334: the pipeline takes the kind of each adapter, and has the component that it is for."""
    entry = view.pipeline_entry
    if entry is None:
        return
    for name, adapter in view.adapters.items():
        kind, path = adapter.get("kind"), ("adapters", name, "kind")
        if kind in ("lora", "merge") and not entry["lora"]:
            yield Finding("E334", f"`{view.pipeline}` takes no LoRA", path)
        elif kind in ("textual_inversion", "ip_adapter") and not entry["mixins"][kind]:
            what = "textual inversion" if kind == "textual_inversion" else "image prompt adapter"
            yield Finding("E334", f"`{view.pipeline}` takes no {what}", path)
        target = adapter.get("target")
        if kind == "textual_inversion":
            encoders = [part for part in entry["components"] if part.startswith("text_encoder")]
            if isinstance(target, str) and encoders and target not in encoders:
                message = f"`{view.pipeline}` has no `{shown(target)}` that takes a textual inversion"
                yield Finding("E334", message, ("adapters", name, "target"), f"It has {listed(encoders, 'and')}.")
        elif isinstance(target, str) and entry["lora"] and target not in entry["lora"]:
            message = f"`{view.pipeline}` takes no LoRA for `{shown(target)}`"
            yield Finding("E334", message, ("adapters", name, "target"), f"It does for {listed(entry['lora'], 'and')}.")


def scales(view: View) -> Iterator[Finding]:
    """E315: the components of a scale are the pipeline's, and its blocks are `down`, `mid`, `up` and `block_N`.

    An IP-Adapter acts in a transformer's `transformer_blocks` instead.
    """
    for name, adapter in view.adapters.items():
        scale, path = mapping(adapter.get("scale")), ("adapters", name, "scale")
        if adapter.get("kind") == "ip_adapter":
            parts = view.pipeline_entry["components"] if view.pipeline_entry else ("unet", "transformer")
            known = {"unet": DIRECTIONS, "transformer": (JOINT,)}
            yield from _no_components(scale, path)
            blocks = {name: value for name, value in scale.items() if name not in known}
            yield from _blocks(blocks, path, [name for part in known if part in parts for name in known[part]])
        else:
            yield from _blocks(mapping(scale.get("unet")), (*path, "unet"), DIRECTIONS)
            yield from _components(view, scale, path)


def _components(view: View, scale: Mapping[str, Json], path: RecipePath) -> Iterator[Finding]:
    taken = view.pipeline_entry["lora"] if view.pipeline_entry else ()
    for component, value in scale.items():
        if taken and component not in taken and component.startswith(("unet", "transformer", "text_encoder")):
            if value is None:
                continue
            message = f"`{view.pipeline}` has no `{component}` that takes a LoRA"
            yield Finding("E315", message, (*path, component), f"It has {listed(taken, 'and')}.", key=True)


def _no_components(scale: Mapping[str, Json], path: RecipePath) -> Iterator[Finding]:
    """E315: an IP-Adapter has one denoiser to act on, so its scale begins with the blocks."""
    for component, blocks in (("unet", "`down`, `mid` and `up`"), ("transformer", f"`{JOINT}`")):
        if component in scale:
            denoiser = "UNet" if component == "unet" else component
            hint = f"It acts on the {denoiser} alone: write {blocks} without `{component}`."
            message = "an image prompt adapter's scale has no components"
            yield Finding("E315", message, (*path, component), hint, key=True)


def _blocks(scale: Mapping[str, Json], path: RecipePath, known: Sequence[str]) -> Iterator[Finding]:
    """`known` are the names that blocks are grouped under."""
    for direction, blocks in scale.items():
        if direction not in known:
            denoiser = "a UNet" if "down" in known else "a transformer"
            message = f"{denoiser} has no block `{shown(direction)}`"
            hint = did_you_mean(direction, known, "It has") or f"It has {', '.join(known)}."
            yield Finding("E315", message, (*path, direction), hint, key=True)
            continue
        for block in mapping(blocks):
            if not _BLOCK.fullmatch(block):
                message = f"`{shown(block)}` is not a block of `{shown(direction)}`"
                hint = "Blocks are called block_0, block_1, …"
                yield Finding("E315", message, (*path, direction, block), hint, key=True)


def merges(view: View) -> Iterator[Finding]:
    """E316 to E320, E333: members of a merge are loras, each once with a weight; options are ones that it reads."""
    for name, merge in view.of_kind("merge"):
        path = ("adapters", name)
        yield from _members(view, name, elements(merge.get("adapters")), (*path, "adapters"))
        members, weights = elements(merge.get("adapters")), elements(merge.get("weights"))
        if members and weights and len(members) != len(weights):
            message = f"{_counted(len(weights), 'weight')} for {_counted(len(members), 'adapter')}"
            yield Finding("E319", message, (*path, "weights"), "Write one weight for each adapter, in their order.")
        method = merge.get("combination_type", "cat")
        for option, methods in MERGE_OPTIONS.items():
            if merge.get(option) is not None and isinstance(method, str) and method not in methods:
                message = f"the method `{shown(method)}` takes no `{option}`"
                yield Finding("E320", message, (*path, option), f"{listed(methods, 'and')} do.", key=True)
        if method in _WITH_DENSITY and merge.get("density") is None:
            message = f"the method `{method}` needs a `density`"
            hint = "Write the share of values to keep, such as `density: 0.5`."
            yield Finding("E333", message, (*path, "combination_type"), hint)


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _members(view: View, merge: str, members: Sequence[Json], path: RecipePath) -> Iterator[Finding]:
    loras = view.loras
    seen: set[str] = set()
    for index, member in enumerate(members):
        if not isinstance(member, str):
            continue
        if member not in mapping(view.tree.get("adapters")):
            hint = did_you_mean(member, loras, "Loras")
            yield Finding("E316", f"no adapter is called `{shown(member)}`", (*path, index), hint)
        elif member not in loras:
            kind = "the merge itself" if member == merge else f"of kind {view.adapters.get(member, {}).get('kind')}"
            hint = did_you_mean("", loras, "Loras")
            yield Finding("E317", f"`{member}` is {kind}, and only loras can be merged", (*path, index), hint)
        elif member in seen:
            hint = "Delete one of the two; weights add up."
            yield Finding("E318", f"`{member}` is merged twice", (*path, index), hint)
        seen.add(member)


def image_prompts(view: View) -> Iterator[Finding]:
    """E321: an image prompt adapter has an image or an embedding of one, for every prompt."""
    for name, adapter in view.of_kind("ip_adapter"):
        path = ("adapters", name)
        image, embedding = adapter.get("image"), adapter.get("image_embeds")
        if image is not None or embedding is not None:
            continue
        lacking = (given for given, prompt in view.prompts if name not in mapping(prompt.get("images")))
        without = list(islice(lacking, _MOST_NAMED + 1))
        if without:
            some = f"the prompt{'s' if len(without) > 1 else ''} {listed(without[:_MOST_NAMED], 'and')}"
            message = f"`{name}` has no image for {some}{' and others' if len(without) > _MOST_NAMED else ''}"
            hint = f"Give it an `image`, or each prompt one in `images: {{{name}: …}}`."
            yield Finding("E321", message, path, hint, key=True)


def tokens(view: View) -> Iterator[Finding]:
    """W331, E339: the token of a textual inversion stands in a prompt, and for one adapter in each text encoder."""
    inversions = [
        (name, token, adapter.get("target"))
        for name, adapter in view.of_kind("textual_inversion")
        if isinstance(token := adapter.get("token"), str) and token
    ]
    if not inversions:
        return
    given = [prompt.get(key) for _, prompt in view.prompts for key in TEXTS]
    texts = [*(text for text in given if isinstance(text, str)), *_strings(view.tree.get("matrix"))]
    used = {same_token(found.token) for text in texts for found in occurrences(text, (each[1] for each in inversions))}
    for place, (name, token, target) in enumerate(inversions):
        path = ("adapters", name, "token")
        if same_token(token) not in used:
            message = f"no prompt uses the token `{shown(token)}` of `{name}`, so it changes nothing"
            hint = "Write it into a prompt or negative prompt, or delete the adapter."
            if meant := misspelt(token, texts):
                hint = f"Is `{shown(meant)}` meant to be it? {hint}"
            yield Finding("W331", message, path, hint, severity="warning")
        for other, other_token, other_target in inversions[:place]:
            apart = target is not None and other_target is not None and target != other_target
            if same_token(token) == same_token(other_token) and not apart:
                message = f"`{shown(token)}` stands for `{other}` already"
                hint = "Give each its own token; two adapters share one where each has its own `target`."
                yield Finding("E339", message, path, hint)
                break


def _strings(value: Json) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _strings(item)
    else:
        for item in elements(value):
            yield from _strings(item)
