"""Check the learned tokens of all adapters, as their files name them: none twice, and none unused."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, cast

from recipe_runner.document.document import Document
from recipe_runner.plan.resolved import ResolvedAdapter, ResolvedLora
from recipe_runner.plan.resolved_recipe import ResolvedRecipe, ResolvedVariant
from recipe_runner.problems.problem import Problem, WeightsError, at
from recipe_runner.recipe.learned_tokens import misspelt, same_token, uses


def refuse_shared_tokens(adapters: Sequence[ResolvedAdapter]) -> None:
    """Compare the tokens of all adapters, as far as they are known.

    Raises:
        WeightsError: E624, at the later of two adapters. One LoRA file under two names is allowed.
    """
    taken: dict[tuple[str, str], ResolvedAdapter] = {}
    for adapter in adapters:
        for token, components in adapter.tokens.items():
            for component in components:
                other = taken.setdefault((component, same_token(token)), adapter)
                if other is adapter or _is_same_lora(adapter, other):
                    continue
                message = f"{other.name} and {adapter.name} both stand for `{token}` in the {component}"
                hint = "give one of them another `token`, or take one out of the recipe"
                with at(adapter.origin):
                    raise WeightsError(Problem(code="E624", message=message, hint=hint))


def _is_same_lora(one: ResolvedAdapter, other: ResolvedAdapter) -> bool:
    if not isinstance(one, ResolvedLora) or not isinstance(other, ResolvedLora):
        return False
    return one.source.digest == other.source.digest


def left_to_files(document: Document) -> list[str]:
    """The textual inversions without a `token` in the recipe, so that the file names it."""
    tree = cast("Mapping[str, Any]", document.tree)
    axes = tree.get("matrix") or {}
    names = []
    for name, adapter in (tree.get("adapters") or {}).items():
        if adapter["kind"] != "textual_inversion" or "token" in adapter:
            continue
        if f"adapters.{name}.token" not in axes:
            names.append(name)
    return names


def unused_tokens(recipe: ResolvedRecipe, names: Collection[str]) -> Iterator[Problem]:
    """Warnings about learned tokens that no prompt uses and that only a file names.

    W331 for the textual inversions called `names`, whose file names the token; W754 for LoRAs.
    """
    unused: dict[str, ResolvedAdapter] = {}
    used: set[str] = set()
    prompts: dict[str, None] = {}
    for variant in recipe.variants:
        for adapter in variant.adapters:
            is_checked = adapter.kind == "lora" or adapter.name in names
            if not is_checked or not adapter.tokens or adapter.name in used:
                continue
            texts = _texts(variant)
            prompts.update(texts)
            if any(uses(text, adapter.tokens) for text in texts):
                used.add(adapter.name)
            else:
                unused[adapter.name] = adapter
    for name, adapter in unused.items():
        if name not in used:
            yield _unused(adapter, prompts)


def _texts(variant: ResolvedVariant) -> dict[str, None]:
    """The texts of all prompts, each once."""
    texts: dict[str, None] = {}
    for prompt in variant.prompts:
        texts.update(dict.fromkeys(prompt.texts.values()))
    return texts


def _unused(adapter: ResolvedAdapter, prompts: Iterable[str]) -> Problem:
    tokens = " or ".join(f"`{token}`" for token in adapter.tokens)
    if adapter.kind == "lora":
        code, message = "W754", f"no prompt uses {tokens}, which `{adapter.name}` was trained with"
        hint = "Write them into a prompt, as the file's author does; without them the adapter may do little."
    else:
        code, message = "W331", f"no prompt uses {tokens}, which the file of `{adapter.name}` names"
        hint = "Write it into a prompt or negative prompt, or delete the adapter: it changes nothing."
    for token in adapter.tokens:
        similar = misspelt(token, prompts)
        if similar:
            hint = f"Is `{similar}` meant to be it? {hint}"
            break
    return Problem.warning(adapter.origin, code, message, hint)
