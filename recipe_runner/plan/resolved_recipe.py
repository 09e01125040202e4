"""What a recipe is once everything is decided: every variant with its base, adapters, prompts, seeds and arguments."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from recipe_runner.canonical import Json
from recipe_runner.pipelines.guidance import is_guided
from recipe_runner.plan.resolved import AnySource, ResolvedAdapter, ResolvedBase, ResolvedIpAdapter, numbered_once
from recipe_runner.problems.place import Place


@dataclass(frozen=True, kw_only=True)
class ResolvedPrompt:
    """A prompt with its id, and its texts by the names of the pipeline's parameters.

    `negative_origins` are the places of its negative texts in the recipe, by the same names.
    """

    id: str
    texts: Mapping[str, str]
    origin: Place = field(compare=False)
    negative_origins: Mapping[str, Place] = field(default_factory=dict, compare=False)
    number: int = numbered_once()


def numbered(found: Mapping[str, object], name: str, value: object) -> str:
    """`name` where `found` has nothing else under it; where variants differ, the later ones carry `#2`, `#3`, …."""
    place, number = name, 1
    while place in found and found[place] != value:
        number += 1
        place = f"{name}#{number}"
    return place


@dataclass(frozen=True, kw_only=True)
class ResolvedVariant:
    """One combination of the matrix."""

    index: int
    values: Mapping[str, Json]
    base: ResolvedBase
    adapters: tuple[ResolvedAdapter, ...]
    prompts: tuple[ResolvedPrompt, ...]
    seeds: tuple[int, ...]
    sampling: Mapping[str, Json]
    output: Mapping[str, Json]

    def is_guided(self, prompt: ResolvedPrompt) -> bool:
        """Whether images of `prompt` use classifier-free guidance, and so its negative prompt."""
        base = self.base
        return is_guided(base.pipeline, self.sampling, prompt.texts, is_distilled=base.is_distilled)

    @property
    def guides_any(self) -> bool:
        """Whether images of any of its prompts use classifier-free guidance."""
        return any(self.is_guided(prompt) for prompt in self.prompts)


@dataclass(frozen=True, kw_only=True)
class ResolvedRecipe:
    """Every variant, and how to execute."""

    name: str
    variants: tuple[ResolvedVariant, ...]
    device: str
    reproducibility: str
    batch_size: int
    threads: int | None
    allow_pickle: bool

    def sources(self) -> dict[str, AnySource]:
        """Every source by its role in the recipe (`base`, `base.components.vae`, `adapters.film`), in order.

        Where variants differ in a role, later ones carry `#2`, `#3`, ….
        """
        found: dict[str, AnySource] = {}
        for role, source in self._roles():
            found[numbered(found, role, source)] = source
        return found

    def _roles(self) -> list[tuple[str, AnySource]]:
        roles: list[tuple[str, AnySource]] = []
        seen: set[int] = set()
        for variant in self.variants:
            base = variant.base
            if base.number not in seen:
                seen.add(base.number)
                roles += [(role if role == "base" else f"base.{role}", each) for role, each in base.sources.items()]
            for adapter in (each for outer in variant.adapters for each in outer.with_members()):
                if adapter.at_any_scale not in seen:
                    seen.add(adapter.at_any_scale)
                    roles += adapter.placed_sources()
                for shown in adapter.image_prompts.values() if isinstance(adapter, ResolvedIpAdapter) else ():
                    if shown.number not in seen:
                        seen.add(shown.number)
                        roles += shown.placed_sources()
        return roles
