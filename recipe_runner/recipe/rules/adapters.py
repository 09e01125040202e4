"""Rules for adapters: scales, merges, image prompts, tokens, and support by the pipeline."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

from recipe_runner.canonical import elements, mapping
from recipe_runner.problems.suggest import did_you_mean
from recipe_runner.problems.wording import counted, listed, shown
from recipe_runner.recipe.finding import Finding
from recipe_runner.recipe.learned_tokens import misspelt, occurrences, same_token

if TYPE_CHECKING:
    from recipe_runner.canonical import Json
    from recipe_runner.document.paths import RecipePath
    from recipe_runner.recipe.rules.view import View

DIRECTIONS = ("down", "mid", "up")
JOINT = "transformer_blocks"
"""The blocks of a transformer that IP-Adapters act on."""
_MOST_NAMED = 3
_BLOCK = re.compile(r"block_(0|[1-9][0-9]?)")
TEXTS = ("prompt", "prompt_2", "prompt_3", "negative_prompt", "negative_prompt_2", "negative_prompt_3")

# peft's add_weighted_adapter: the options that each combination type reads.
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


_KINDS: Mapping[object, str] = {
    "lora": "a LoRA",
    "merge": "a LoRA",
    "textual_inversion": "a textual inversion",
    "ip_adapter": "an image prompt adapter",
}


def fitting(view: View) -> Iterator[Finding]:
    """E334: the pipeline supports the kind of each adapter, and has the component that the adapter targets."""
    entry = view.pipeline_entry
    if entry is None:
        return
    encoders = [part for part in entry["components"] if part.startswith("text_encoder")]
    for name, adapter in view.adapters.items():
        kind, target = adapter.get("kind"), adapter.get("target")
        if isinstance(kind, str) and kind in _KINDS and not _supports(entry, kind):
            yield Finding("E334", f"`{view.pipeline}` does not take {_KINDS[kind]}", ("adapters", name, "kind"))
        if not isinstance(target, str):
            continue
        message = f"`{view.pipeline}` does not take a LoRA for `{shown(target)}`"
        known, hint = entry["lora"], "It does for"
        if kind == "textual_inversion":
            message = f"`{view.pipeline}` has no `{shown(target)}` that takes a textual inversion"
            known, hint = encoders, "It has"
        if known and target not in known:
            yield Finding("E334", message, ("adapters", name, "target"), f"{hint} {listed(known, 'and')}.")


def _supports(entry: Mapping[str, Any], kind: str) -> bool:
    """Whether the pipeline of an entry in the table supports a kind of adapter."""
    if kind in ("lora", "merge"):
        return bool(entry["lora"])
    return bool(entry["mixins"][kind])


def scales(view: View) -> Iterator[Finding]:
    """E315: the pipeline has the components of a scale, and the blocks are `down`, `mid`, `up` and `block_N`.

    An IP-Adapter for a transformer acts on its `transformer_blocks` instead.
    """
    for name, adapter in view.adapters.items():
        scale, path = mapping(adapter.get("scale")), ("adapters", name, "scale")
        if adapter.get("kind") == "ip_adapter":
            yield from _ip_adapter_scale(view, scale, path)
        else:
            yield from _blocks(mapping(scale.get("unet")), (*path, "unet"), DIRECTIONS)
            yield from _components(view, scale, path)


def _ip_adapter_scale(view: View, scale: Mapping[str, Json], path: RecipePath) -> Iterator[Finding]:
    yield from _no_components(scale, path)
    parts = ("unet", "transformer")
    if view.pipeline_entry is not None:
        parts = view.pipeline_entry["components"]
    known: list[str] = []
    if "unet" in parts:
        known += DIRECTIONS
    if "transformer" in parts:
        known.append(JOINT)
    blocks = {name: value for name, value in scale.items() if name not in ("unet", "transformer")}
    yield from _blocks(blocks, path, known)


def _components(view: View, scale: Mapping[str, Json], path: RecipePath) -> Iterator[Finding]:
    if view.pipeline_entry is None or not view.pipeline_entry["lora"]:
        return
    taken = view.pipeline_entry["lora"]
    for component, value in scale.items():
        if value is None or component in taken:
            continue
        if component.startswith(("unet", "transformer", "text_encoder")):
            message = f"`{view.pipeline}` has no `{component}` that takes a LoRA"
            yield Finding("E315", message, (*path, component), f"It has {listed(taken, 'and')}.", key=True)


def _no_components(scale: Mapping[str, Json], path: RecipePath) -> Iterator[Finding]:
    """E315: an IP-Adapter acts only on the denoiser, so its scale starts with the blocks."""
    denoisers = (("unet", "UNet", "`down`, `mid` and `up`"), ("transformer", "transformer", f"`{JOINT}`"))
    for component, denoiser, blocks in denoisers:
        if component in scale:
            hint = f"It acts only on the {denoiser}: write {blocks} without `{component}`."
            message = "an image prompt adapter's scale has no components"
            yield Finding("E315", message, (*path, component), hint, key=True)


def _blocks(scale: Mapping[str, Json], path: RecipePath, known: Sequence[str]) -> Iterator[Finding]:
    """E315 for each unknown block; `known` are the names of the groups of blocks."""
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
    """E316 to E320, E333: a merge has loras, each once and with a weight, and only options of its method."""
    for name, merge in view.of_kind("merge"):
        path = ("adapters", name)
        members, weights = elements(merge.get("adapters")), elements(merge.get("weights"))
        yield from _members(view, name, members, (*path, "adapters"))
        if members and weights and len(members) != len(weights):
            message = f"{counted(len(weights), 'weight')} for {counted(len(members), 'adapter')}"
            yield Finding("E319", message, (*path, "weights"), "Write one weight for each adapter, in the same order.")
        method = merge.get("combination_type", "cat")
        if isinstance(method, str):
            yield from _merge_options(merge, method, path)


def _merge_options(merge: Mapping[str, Json], method: str, path: RecipePath) -> Iterator[Finding]:
    for option, methods in MERGE_OPTIONS.items():
        if merge.get(option) is not None and method not in methods:
            message = f"the method `{shown(method)}` does not take `{option}`"
            yield Finding("E320", message, (*path, option), f"{listed(methods, 'and')} do.", key=True)
    if method in _WITH_DENSITY and merge.get("density") is None:
        message = f"the method `{method}` needs a `density`"
        hint = "Write the share of values to keep, such as `density: 0.5`."
        yield Finding("E333", message, (*path, "combination_type"), hint)


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
            kind = f"of kind {view.adapters.get(member, {}).get('kind')}"
            if member == merge:
                kind = "the merge itself"
            hint = did_you_mean("", loras, "Loras")
            yield Finding("E317", f"`{member}` is {kind}; only loras can be merged", (*path, index), hint)
        elif member in seen:
            hint = "Delete one, and add its weight to the other."
            yield Finding("E318", f"duplicate adapter `{member}` in the merge", (*path, index), hint)
        seen.add(member)


def image_prompts(view: View) -> Iterator[Finding]:
    """E321: an image prompt adapter has an image or an embedding for every prompt."""
    for name, adapter in view.of_kind("ip_adapter"):
        path = ("adapters", name)
        image, embedding = adapter.get("image"), adapter.get("image_embeds")
        if image is not None or embedding is not None:
            continue
        lacking = (given for given, prompt in view.prompts if name not in mapping(prompt.get("images")))
        without = list(islice(lacking, _MOST_NAMED + 1))
        if without:
            hint = f"Give it an `image`, or each prompt one in `images: {{{name}: …}}`."
            yield Finding("E321", f"`{name}` has no image for {_some_prompts(without)}", path, hint, key=True)


def _some_prompts(names: Sequence[str]) -> str:
    if len(names) == 1:
        return f"the prompt `{names[0]}`"
    text = f"the prompts {listed(names[:_MOST_NAMED], 'and')}"
    if len(names) > _MOST_NAMED:
        text += " and others"
    return text


def tokens(view: View) -> Iterator[Finding]:
    """W331, E339: a prompt contains the token of each textual inversion, and no two adapters share a token.

    Adapters with different targets can share one.
    """
    inversions = _inversions(view)
    if not inversions:
        return
    texts = _texts(view)
    used = _used_tokens(texts, [inversion.token for inversion in inversions])
    for index, inversion in enumerate(inversions):
        path = ("adapters", inversion.name, "token")
        if same_token(inversion.token) not in used:
            message = f"no prompt contains the token `{shown(inversion.token)}` of `{inversion.name}`: it has no effect"
            hint = "Write it into a prompt or negative prompt, or delete the adapter."
            if meant := misspelt(inversion.token, texts):
                hint = f"Should `{shown(meant)}` be this token? {hint}"
            yield Finding("W331", message, path, hint, severity="warning")
        for other in inversions[:index]:
            if inversion.collides(other):
                message = f"`{shown(inversion.token)}` is already the token of `{other.name}`"
                hint = "Give each its own token; two adapters can share one only if each has its own `target`."
                yield Finding("E339", message, path, hint)
                break


class _Inversion(NamedTuple):
    """A textual inversion of the recipe that has a token."""

    name: str
    token: str
    target: Json

    def collides(self, other: _Inversion) -> bool:
        """Whether both give vectors to one token of one text encoder."""
        apart = self.target is not None and other.target is not None and self.target != other.target
        return not apart and same_token(self.token) == same_token(other.token)


def _inversions(view: View) -> list[_Inversion]:
    found = []
    for name, adapter in view.of_kind("textual_inversion"):
        token = adapter.get("token")
        if isinstance(token, str) and token:
            found.append(_Inversion(name, token, adapter.get("target")))
    return found


def _texts(view: View) -> list[str]:
    """All texts of prompts, including those in the matrix."""
    found = list(_strings(view.tree.get("matrix")))
    for _, prompt in view.prompts:
        for key in TEXTS:
            text = prompt.get(key)
            if isinstance(text, str):
                found.append(text)
    return found


def _used_tokens(texts: Sequence[str], tokens: Sequence[str]) -> set[str]:
    found: set[str] = set()
    for text in texts:
        for occurrence in occurrences(text, tokens):
            found.add(same_token(occurrence.token))
    return found


def _strings(value: Json) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _strings(item)
    else:
        for item in elements(value):
            yield from _strings(item)
