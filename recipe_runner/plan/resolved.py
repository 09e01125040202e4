"""What a recipe is once everything is decided: every variant with its sources, scales, prompts, seeds and arguments.

Nothing here is optional and nothing depends on where files lie: these types are what the build graph is compiled from.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from recipe_runner.canonical import Json
from recipe_runner.problems.place import Place
from recipe_runner.recipe.learned_tokens import uses
from recipe_runner.sources.missing import Unresolved
from recipe_runner.sources.source import Source

if TYPE_CHECKING:
    from recipe_runner.weights.ip_adapter import Shown
    from recipe_runner.weights.lora import LoraLayout

AnySource = Source | Unresolved


@dataclass(frozen=True, kw_only=True)
class ResolvedComponent:
    """A replaced component; None in `ResolvedBase.components` leaves an optional one out."""

    source: AnySource
    subfolder: str | None
    weight_name: str | None
    variant: str | None
    dtype: str


@dataclass(frozen=True, kw_only=True)
class ResolvedBase:
    """The base with its pipeline class decided. `pipeline` is `auto` only while the source is unresolved."""

    source: AnySource
    pipeline: str
    weight_name: str | None
    config: AnySource | None
    dtype: str
    variant: str | None
    scheduler_class: str | None
    scheduler_config: Mapping[str, Json]
    components: Mapping[str, ResolvedComponent | None]
    allow_pickle: bool
    origin: Place = field(compare=False)


@dataclass(frozen=True, kw_only=True)
class ResolvedImagePrompt:
    """What an image prompt adapter is shown for a prompt, and with what it is read.

    `sources` are its files by name, `roles` the paths in the recipe that name them. `constants` decide the result
    beside the files. `encoder` says where of its source the image encoder lies. `shown` is None while the adapter's own
    file is not on this machine; `count`, of images, is then a guess.
    """

    adapter: str
    constants: Mapping[str, Json]
    sources: Mapping[str, AnySource]
    roles: Mapping[str, str]
    encoder: ResolvedComponent | None
    count: int
    shown: Shown | None
    origin: Place = field(compare=False)


@dataclass(frozen=True, kw_only=True)
class ResolvedAdapter:
    """An adapter of any kind.

    `constants` is what of the recipe decides its result beside the scale; `sources` are its files by role.
    `tensors` counts, per component, the tensors of its file that land there; None while that is not known. `tokens` are
    the learned tokens that it brings, with how many vectors each text encoder gets for them, as far as that is known.
    `layout` says where each lands, of what has factors or whole differences. `members` are the adapters that a merge is
    made of, which do not act alone.
    `image_prompts` is, by prompt id, what an image prompt adapter is shown; empty for another, and for one that is off.
    """

    name: str
    kind: str
    operation: str
    constants: Mapping[str, Json]
    sources: Mapping[str, AnySource]
    scale: Json
    tensors: Mapping[str, int] | None
    tokens: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    origin: Place = field(compare=False)
    members: tuple[ResolvedAdapter, ...] = ()
    layout: LoraLayout | None = field(default=None, compare=False, repr=False)
    image_prompts: Mapping[str, ResolvedImagePrompt] = field(default_factory=dict)

    def with_members(self) -> tuple[ResolvedAdapter, ...]:
        """Its members, and it itself."""
        return (*self.members, self)

    def acts_on(self, texts: Mapping[str, str]) -> bool:
        """Whether images of a prompt can change under it: those of a textual inversion only where its token stands."""
        token = self.constants.get("token")
        if self.kind != "textual_inversion" or not isinstance(token, str):
            return True
        return any(uses(text, [token]) for text in texts.values())

    @property
    def touches_text(self) -> bool:
        """Whether a text encoder or tokenizer changes under it; assumed while it is not known."""
        if self.kind == "ip_adapter":
            return False
        return self.tensors is None or any(name.startswith("text_encoder") for name in self.tensors)


@dataclass(frozen=True, kw_only=True)
class ResolvedPrompt:
    """A prompt with its id, and its texts by the names of the pipeline's parameters."""

    id: str
    texts: Mapping[str, str]
    origin: Place = field(compare=False)


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
        seen: dict[int, object] = {}
        for variant in self.variants:
            base = variant.base
            if id(base) not in seen:
                seen[id(base)] = base
                roles.append(("base", base.source))
                if base.config is not None:
                    roles.append(("base.config", base.config))
                roles.extend((f"base.components.{n}", c.source) for n, c in base.components.items() if c is not None)
            for adapter in (each for outer in variant.adapters for each in outer.with_members()):
                if id(adapter) not in seen:
                    seen[id(adapter)] = adapter
                    roles.extend(
                        (f"adapters.{adapter.name}" + (f".{role}" if role != "weights" else ""), source)
                        for role, source in adapter.sources.items()
                    )
                    for shown in adapter.image_prompts.values():
                        if id(shown) not in seen:
                            seen[id(shown)] = shown
                            roles.extend((shown.roles[name], source) for name, source in shown.sources.items())
        return roles
