"""The tokens of all adapters together, once files have said which they are: none twice, and none for nothing."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, cast

from recipe_runner.document.document import Document
from recipe_runner.plan.resolved import ResolvedAdapter, ResolvedLora
from recipe_runner.plan.resolved_recipe import ResolvedRecipe
from recipe_runner.problems.problem import Problem, WeightsError, at
from recipe_runner.recipe.learned_tokens import misspelt, same_token, uses


def refuse_shared_tokens(adapters: Sequence[ResolvedAdapter]) -> None:
    """Compare the tokens of all adapters, as far as they are known.

    Raises:
        WeightsError: E624, at the later of two adapters. One LoRA file under two names brings one token, which may be.
    """
    taken: dict[tuple[str, str], ResolvedAdapter] = {}
    for adapter in adapters:
        for token, components in adapter.tokens.items():
            for component in components:
                other = taken.setdefault((component, same_token(token)), adapter)
                if other is adapter or (
                    isinstance(adapter, ResolvedLora)
                    and isinstance(other, ResolvedLora)
                    and adapter.source.digest == other.source.digest
                ):
                    continue
                message = f"{other.name} and {adapter.name} both stand for `{token}` in the {component}"
                hint = "give one of them another `token`, or take one out of the recipe"
                with at(adapter.origin):
                    raise WeightsError(Problem(code="E624", message=message, hint=hint))


def left_to_files(document: Document) -> list[str]:
    """The textual inversions whose token the recipe leaves to the file."""
    tree = cast("Mapping[str, Any]", document.tree)
    axes = tree.get("matrix") or {}
    return [
        name
        for name, adapter in (tree.get("adapters") or {}).items()
        if adapter["kind"] == "textual_inversion" and "token" not in adapter and f"adapters.{name}.token" not in axes
    ]


def unused_tokens(recipe: ResolvedRecipe, names: Collection[str]) -> Iterator[Problem]:
    """Tokens that stand in no prompt and that only a file names, so that the recipe alone did not show it.

    W331 for the textual inversions called `names`, which leave their token to the file; W754 for LoRAs.
    """
    unused: dict[str, ResolvedAdapter | None] = {}
    prompts: dict[str, None] = {}
    for variant in recipe.variants:
        for adapter in variant.adapters:
            told = adapter.kind == "lora" or adapter.name in names
            if not told or not adapter.tokens or unused.get(adapter.name, ()) is None:
                continue
            texts = [text for prompt in variant.prompts for text in prompt.texts.values()]
            prompts.update(dict.fromkeys(texts))
            unused[adapter.name] = None if any(uses(text, adapter.tokens) for text in texts) else adapter
    for adapter in filter(None, unused.values()):
        tokens = " or ".join(f"`{token}`" for token in adapter.tokens)
        if adapter.kind == "lora":
            code, message = "W754", f"no prompt uses {tokens}, which `{adapter.name}` was trained with"
            hint = "Write them into a prompt, as the file's author does; without them the adapter may do little."
        else:
            code, message = "W331", f"no prompt uses {tokens}, which the file of `{adapter.name}` names"
            hint = "Write it into a prompt or negative prompt, or delete the adapter: it changes nothing."
        if meant := next(filter(None, (misspelt(token, prompts) for token in adapter.tokens)), None):
            hint = f"Is `{meant}` meant to be it? {hint}"
        yield Problem.warning(adapter.origin, code, message, hint)
