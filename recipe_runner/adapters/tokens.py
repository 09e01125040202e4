"""The tokens of all adapters together, once files have said which they are: none twice, and none for nothing."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from recipe_runner.errors import Problem, WeightsError
from recipe_runner.learned_tokens import same_token
from recipe_runner.placed import placed
from recipe_runner.resolved import ResolvedAdapter, ResolvedRecipe


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
                    adapter.kind == other.kind == "lora"
                    and adapter.sources["weights"].digest == other.sources["weights"].digest
                ):
                    continue
                message = f"{other.name} and {adapter.name} both stand for `{token}` in the {component}"
                hint = "give one of them another `token`, or take one out of the recipe"
                with placed(adapter.origin):
                    raise WeightsError(Problem(code="E624", message=message, hint=hint))


def unused_tokens(recipe: ResolvedRecipe, names: Collection[str]) -> Iterator[Problem]:
    """W331, where only the file said the token: of the adapters called `names`, those whose token is in no prompt."""
    unused: dict[str, ResolvedAdapter | None] = {}
    for variant in recipe.variants:
        for adapter in variant.adapters:
            if adapter.name not in names or unused.get(adapter.name, ()) is None:
                continue
            used = any(adapter.acts_on(prompt.texts) for prompt in variant.prompts)
            unused[adapter.name] = None if used else adapter
    for adapter in filter(None, unused.values()):
        token = adapter.constants["token"]
        yield Problem(
            code="W331",
            message=f"no prompt uses `{token}`, which the file of `{adapter.name}` names, so it changes nothing",
            path=adapter.origin.path,
            line=adapter.origin.line,
            column=adapter.origin.column,
            source_line=adapter.origin.source_line,
            hint="Write it into a prompt or negative prompt, or delete the adapter.",
            severity="warning",
        )
