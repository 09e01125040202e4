"""The base, adapters and image prompts of a recipe once everything about them is decided: one type for each kind.

Nothing that decides a result depends on where files lie. These types are what the build graph is compiled from, and a
model handle of the runtime holds the very same values.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import count
from typing import TYPE_CHECKING, Any, ClassVar, Self

from recipe_runner.canonical import Json
from recipe_runner.problems.place import Place
from recipe_runner.recipe.learned_tokens import uses
from recipe_runner.recipe.rules.adapters import MERGE_OPTIONS
from recipe_runner.sources.missing import Unresolved
from recipe_runner.sources.source import Source

if TYPE_CHECKING:
    from pathlib import Path

    from recipe_runner.weights.ip_adapter import ImagePromptShape
    from recipe_runner.weights.lora import LoraLayout

AnySource = Source | Unresolved

_NUMBERS = count()


def numbered_once() -> Any:
    """A field for a number that no other object has: what is remembered of an object is remembered by it."""
    return field(init=False, compare=False, repr=False, default_factory=_NUMBERS.__next__)


@dataclass(frozen=True, kw_only=True)
class ResolvedComponent:
    """A replaced component: a folder (`subfolder` inside the source, or its root) or a single weights file."""

    source: AnySource
    subfolder: str | None = None
    weight_name: str | None = None
    variant: str | None = None
    dtype: str = "float32"

    def constants(self) -> dict[str, Json]:
        """What of the recipe decides it, beside its files."""
        return {name: getattr(self, name) for name in ("subfolder", "weight_name", "variant", "dtype")}


@dataclass(frozen=True, kw_only=True)
class ResolvedBase:
    """The base with its pipeline class decided. `pipeline` is `auto` only while the source is unresolved.

    `weight_name` is set for a single-file checkpoint, whose configuration is then in `config`. `scheduler_class` None
    keeps the base's own class. A component that is None is left out. `is_distilled` says whether the denoiser takes
    guidance as an input (`time_cond_proj_dim`), as far as its configuration is known. `origin` is the place in the
    recipe.
    """

    source: AnySource
    pipeline: str
    weight_name: str | None = None
    config: AnySource | None = None
    dtype: str = "float32"
    variant: str | None = None
    scheduler_class: str | None = None
    scheduler_config: Mapping[str, Json] = field(default_factory=dict)
    components: Mapping[str, ResolvedComponent | None] = field(default_factory=dict)
    allow_pickle: bool = False
    is_distilled: bool = False
    origin: Place = field(default_factory=Place, compare=False)
    number: int = numbered_once()

    def constants(self) -> dict[str, Json]:
        """What of the recipe decides it, beside its files."""
        return {
            "pipeline": self.pipeline,
            "dtype": self.dtype,
            "variant": self.variant,
            "single_file": self.weight_name is not None,
            "scheduler": {"class": self.scheduler_class, "config": self.scheduler_config},
            "components": {
                name: None if component is None else component.constants()
                for name, component in self.components.items()
            },
        }

    @property
    def sources(self) -> dict[str, AnySource]:
        """Its files by role."""
        found = {"base": self.source}
        if self.config is not None:
            found["config"] = self.config
        for name, component in self.components.items():
            if component is not None:
                found[f"components.{name}"] = component.source
        return found


@dataclass(frozen=True, kw_only=True)
class ResolvedImagePrompt:
    """What the IP-Adapter called `name` is shown for a prompt, and with what it is read.

    It is shown `pictures`, `embeds`, or both, each a source of one file; `paths` are where the recipe names them, those
    of pictures first. `encoder` says where of its source the image encoder lies, `faces` are the models that find faces
    in pictures. `shown` says what to make of it all; None while the adapter's own file is not on this machine.
    """

    name: str
    shown: ImagePromptShape | None
    pictures: tuple[AnySource, ...] = ()
    embeds: tuple[AnySource, ...] = ()
    encoder: ResolvedComponent | None = None
    faces: AnySource | None = None
    paths: tuple[str, ...] = ()
    allow_pickle: bool = False
    origin: Place = field(default_factory=Place, compare=False)
    number: int = numbered_once()

    @property
    def count(self) -> int:
        """How many images it is shown; a guess while `shown` is not known."""
        return self.shown.count if self.shown is not None else len(self.pictures) or len(self.embeds)

    def require_shown(self) -> ImagePromptShape:
        """What to make of it, once its adapter was found."""
        if self.shown is None:
            message = f"BUG: what adapter {self.name} reads is not known"
            raise AssertionError(message)
        return self.shown

    def constants(self) -> dict[str, Json]:
        """What of the recipe decides it, beside its files."""
        # What only some families have is a part of nothing else's identity.
        found: dict[str, Json] = {"paired": True} if self.shown is not None and self.shown.paired else {}
        found |= {name: getattr(self.shown, name, None) for name in ("features", "faces", "patches")}
        encoder = None
        if self.encoder is not None:
            encoder = {name: getattr(self.encoder, name) for name in ("subfolder", "variant", "dtype")}
        return {**found, "image_encoder": encoder}

    @property
    def sources(self) -> dict[str, AnySource]:
        """Its files by role."""
        found = {f"image[{index}]": source for index, source in enumerate(self.pictures)}
        found |= {f"image_embeds[{index}]": source for index, source in enumerate(self.embeds)}
        if self.encoder is not None:
            found["image_encoder"] = self.encoder.source
        if self.faces is not None:
            found["faces"] = self.faces
        return found

    def placed_sources(self) -> Iterator[tuple[str, AnySource]]:
        """Its files by the paths in the recipe that name them."""
        yield from zip(self.paths, (*self.pictures, *self.embeds), strict=True)
        if self.encoder is not None:
            yield f"adapters.{self.name}.image_encoder", self.encoder.source
        if self.faces is not None:
            yield f"adapters.{self.name}.faces", self.faces


@dataclass(frozen=True, kw_only=True)
class ResolvedAdapter:
    """An adapter of any kind: what all have in common.

    `scale` is a number or the recipe's mapping. `tensors` counts, per component, the tensors of its file that land
    there; None while that is not known. `tokens` are the learned tokens that it brings, with how many vectors each text
    encoder gets for them, as far as that is known. `layout` says where each tensor lands, of what has factors or whole
    differences. `origin` is where the recipe says it. What it is `at` another scale has a number of its own, and the
    same number `at_any_scale`.
    """

    kind: ClassVar[str]
    OPTIONS: ClassVar[tuple[str, ...]] = ()
    """Fields that decide its result beside its scale and files. The recipe has them under the same names."""

    name: str
    scale: Json = 1.0
    tensors: Mapping[str, int] | None = None
    tokens: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    layout: LoraLayout | None = field(default=None, compare=False, repr=False)
    origin: Place = field(default_factory=Place, compare=False)
    number: int = numbered_once()
    at_any_scale: int = numbered_once()

    def at(self, scale: Json, **shown: Any) -> Self:
        """It at another scale, and with what it is `shown` there; neither is a part of the operation that adds it."""
        made = replace(self, scale=scale, **shown)
        object.__setattr__(made, "at_any_scale", self.at_any_scale)
        return made

    @property
    def sources(self) -> dict[str, AnySource]:
        """Its files by role; none where its members have them."""
        return {}

    def placed_sources(self) -> Iterator[tuple[str, AnySource]]:
        """Its files by the paths in the recipe that name them."""
        for role, source in self.sources.items():
            yield f"adapters.{self.name}" + (f".{role}" if role != "weights" else ""), source

    def constants(self) -> dict[str, Json]:
        """What of the recipe decides its result, beside its scale and files."""
        return {name: getattr(self, name) for name in self.OPTIONS}

    def with_members(self) -> tuple[ResolvedAdapter, ...]:
        """What it is merged of, and it itself."""
        return (self,)

    def acts_on(self, texts: Mapping[str, str]) -> bool:
        """Whether images of a prompt can change under it."""
        del texts
        return True

    @property
    def touches_text(self) -> bool:
        """Whether a text encoder or tokenizer changes under it; assumed while it is not known."""
        return self.tensors is None or any(name.startswith("text_encoder") for name in self.tensors)


@dataclass(frozen=True, kw_only=True)
class _OfOneFile(ResolvedAdapter):
    """An adapter whose weights are the one file of `source`."""

    source: AnySource

    @property
    def sources(self) -> dict[str, AnySource]:
        """Its files by role."""
        return {"weights": self.source}

    @property
    def file_name(self) -> str:
        """What the weights file is called within its source, which was found."""
        return self.source.require_found().files[0].name

    @property
    def path(self) -> Path:
        """Where the weights file lies, which was found."""
        return self.source.require_found().path(self.file_name)


@dataclass(frozen=True, kw_only=True)
class ResolvedLora(_OfOneFile):
    """A LoRA or LyCORIS adapter, loaded into `target` only when that is set.

    `config` is the PEFT configuration beside it. `bundled` is the one inside a FaceID adapter's file.
    """

    kind: ClassVar[str] = "lora"
    OPTIONS: ClassVar[tuple[str, ...]] = ("target", "alpha")

    target: str | None = None
    alpha: float | None = None
    config: AnySource | None = None
    bundled: bool = False

    @property
    def sources(self) -> dict[str, AnySource]:
        """Its files by role."""
        return {"weights": self.source} | ({} if self.config is None else {"config": self.config})


@dataclass(frozen=True, kw_only=True)
class ResolvedTextualInversion(_OfOneFile):
    """A textual inversion, for every text encoder that it holds vectors for; `target` limits it to one.

    `token` is None only while the file that names it is not on this machine.
    """

    kind: ClassVar[str] = "textual_inversion"
    OPTIONS: ClassVar[tuple[str, ...]] = ("token", "target")

    token: str | None = None
    target: str | None = None

    def acts_on(self, texts: Mapping[str, str]) -> bool:
        """Whether its token stands in one of the texts."""
        token = self.token
        return token is None or any(uses(text, [token]) for text in texts.values())


@dataclass(frozen=True, kw_only=True)
class ResolvedIpAdapter(_OfOneFile):
    """An IP-Adapter, with a picture for each image that limits where it acts.

    `shortcut` is that of a FaceID Plus file: whether it is version 2. `image_prompts` is, by prompt id, what it is
    shown; empty for one that is off.
    """

    kind: ClassVar[str] = "ip_adapter"
    OPTIONS: ClassVar[tuple[str, ...]] = ("shortcut",)

    shortcut: bool = False
    masks: tuple[AnySource, ...] = ()
    image_prompts: Mapping[str, ResolvedImagePrompt] = field(default_factory=dict)

    @property
    def sources(self) -> dict[str, AnySource]:
        """Its files by role."""
        if len(self.masks) == 1:
            return {"weights": self.source, "mask": self.masks[0]}
        return {"weights": self.source, **{f"mask[{index}]": mask for index, mask in enumerate(self.masks)}}

    @property
    def touches_text(self) -> bool:
        """No text encoder changes under it."""
        return False

    @property
    def encoded(self) -> ResolvedImagePrompt | None:
        """The first of what it is shown that an image encoder reads."""
        return next((prompt for prompt in self.image_prompts.values() if prompt.encoder is not None), None)

    def bundled_lora(self) -> ResolvedLora:
        """The LoRA inside its file, of one that has it (FaceID)."""
        return ResolvedLora(name=f"{self.name}'s LoRA", source=self.source, bundled=True, origin=self.origin)


@dataclass(frozen=True, kw_only=True)
class ResolvedMerge(ResolvedAdapter):
    """Several LoRAs merged into one by one of peft's methods; the members do not act alone.

    Each goes in with its weight times its scale. `density`, `majority_sign_method`, `svd_rank` and `seed` are for the
    methods that read them.
    """

    kind: ClassVar[str] = "merge"
    OPTIONS: ClassVar[tuple[str, ...]] = ("weights", "combination_type", *MERGE_OPTIONS)

    members: tuple[ResolvedLora, ...]
    weights: tuple[float, ...]
    combination_type: str
    density: float | None = None
    majority_sign_method: str = "total"
    svd_rank: int | None = None
    seed: int = 0

    def constants(self) -> dict[str, Json]:
        """What of the recipe decides its result beside its scale. What its method does not read changes nothing."""
        found: dict[str, Json] = {
            "weights": list(self.weights),
            "scales": [member.scale for member in self.members],
            "combination_type": self.combination_type,
        }
        for option, methods in MERGE_OPTIONS.items():
            if self.combination_type in methods:
                found[option] = getattr(self, option)
        return found

    def with_members(self) -> tuple[ResolvedAdapter, ...]:
        """What it is merged of, and it itself."""
        return (*self.members, self)


@dataclass(frozen=True, kw_only=True)
class ModelHandle:
    """Which base a node needs, and which adapters, in the recipe's order and each at its scale. It holds no weights.

    The adapter operations of the graph take a handle and return one with an entry more; only encoding, denoising and
    decoding make a handle real, in `recipe_runner.runtime`. Equal handles make equal images.
    """

    base: ResolvedBase
    adapters: tuple[ResolvedAdapter, ...] = ()
