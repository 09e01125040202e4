"""A resolved recipe: every variant with its base, adapters, prompts, seeds and arguments."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from recipe_runner.canonical import Json
from recipe_runner.pipelines.guidance import is_guided
from recipe_runner.plan.resolved import ResolvedAdapter, ResolvedIpAdapter
from recipe_runner.plan.resolved_base import AnySource, ResolvedBase, numbered_once
from recipe_runner.problems.place import Place
from recipe_runner.sources.source import Source


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
    """`name`, with `#2`, `#3`, … added if `found` has another value under it."""
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

    def all_adapters(self) -> Iterator[ResolvedAdapter]:
        """Its adapters; the members of a merge are before the merge."""
        for adapter in self.adapters:
            yield from adapter.with_members()

    @property
    def guides_any(self) -> bool:
        """Whether images of any of its prompts use classifier-free guidance."""
        return any(self.is_guided(prompt) for prompt in self.prompts)


@dataclass(frozen=True, kw_only=True)
class ResolvedRecipe:
    """Every variant, and how to execute them."""

    name: str
    variants: tuple[ResolvedVariant, ...]
    device: str
    reproducibility: str
    batch_size: int
    threads: int | None
    allow_pickle: bool

    def bases(self) -> list[ResolvedBase]:
        """The bases of all variants, each once."""
        return list({variant.base.number: variant.base for variant in self.variants}.values())

    @property
    def is_complete(self) -> bool:
        """Whether every source is on this machine."""
        return all(isinstance(source, Source) for source in self.sources().values())

    def sources(self) -> dict[str, AnySource]:
        """Every source by its role in the recipe (`base`, `base.components.vae`, `adapters.film`), in order.

        Further sources of the same role, in other variants, have `#2`, `#3`, … added.
        """
        found: dict[str, AnySource] = {}
        for role, source in self._roles():
            found[numbered(found, role, source)] = source
        return found

    def _roles(self) -> Iterator[tuple[str, AnySource]]:
        seen: set[int] = set()
        for variant in self.variants:
            if variant.base.number not in seen:
                seen.add(variant.base.number)
                yield from _base_roles(variant.base)
            for adapter in variant.all_adapters():
                if adapter.at_any_scale not in seen:
                    seen.add(adapter.at_any_scale)
                    yield from adapter.placed_sources()
                if not isinstance(adapter, ResolvedIpAdapter):
                    continue
                for prompt in adapter.image_prompts.values():
                    if prompt.number not in seen:
                        seen.add(prompt.number)
                        yield from prompt.placed_sources()


def _base_roles(base: ResolvedBase) -> Iterator[tuple[str, AnySource]]:
    for role, source in base.sources.items():
        if role == "base":
            yield role, source
        else:
            yield f"base.{role}", source
