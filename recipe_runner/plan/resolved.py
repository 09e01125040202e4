"""The resolved adapters and image prompts of a recipe, and the model handle: one type for each kind.

The build graph is compiled from these values, and a model handle of the runtime holds them as they are. Results depend
on the contents of files, never on their paths.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, Self

from recipe_runner.canonical import Json
from recipe_runner.plan.resolved_base import AnySource, ResolvedBase, ResolvedComponent, numbered_once
from recipe_runner.problems.place import Place
from recipe_runner.recipe.learned_tokens import uses
from recipe_runner.recipe.rules.adapters import MERGE_OPTIONS

if TYPE_CHECKING:
    from pathlib import Path

    from recipe_runner.weights.ip_adapter import ImagePromptShape
    from recipe_runner.weights.lora import LoraLayout


@dataclass(frozen=True, kw_only=True)
class ResolvedImagePrompt:
    """The images for an IP-Adapter called `name` in one prompt, and the models that encode them.

    `pictures` are image files and `embeds` are saved embeddings, each a source of one file. `paths` are their paths in
    the recipe, those of image files first. `encoder` is the image encoder, and `faces` are the models that find faces.
    `shown` says how to encode them; None if the adapter's own file is not on this machine.
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
        """The number of images; a guess while `shown` is not known."""
        if self.shown is not None:
            return self.shown.count
        return len(self.pictures) or len(self.embeds)

    def require_shown(self) -> ImagePromptShape:
        """How to encode the images; the adapter must have been found."""
        if self.shown is None:
            message = f"BUG: what adapter {self.name} reads is not known"
            raise AssertionError(message)
        return self.shown

    def constants(self) -> dict[str, Json]:
        """The values of the recipe that decide the encoded images, beside their files."""
        found: dict[str, Json] = {}
        if self.shown is not None and self.shown.paired:
            # Only some families have it, and the keys of others must not change.
            found["paired"] = True
        for name in ("features", "faces", "patches"):
            found[name] = getattr(self.shown, name, None)
        found["image_encoder"] = None
        if self.encoder is not None:
            encoder = self.encoder
            found["image_encoder"] = {
                "subfolder": encoder.subfolder,
                "variant": encoder.variant,
                "dtype": encoder.dtype,
            }
        return found

    @property
    def sources(self) -> dict[str, AnySource]:
        """Its files by role."""
        found: dict[str, AnySource] = {}
        for index, source in enumerate(self.pictures):
            found[f"image[{index}]"] = source
        for index, source in enumerate(self.embeds):
            found[f"image_embeds[{index}]"] = source
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
    """The common part of adapters of all kinds.

    `scale` is a number or the recipe's mapping. `tensors` counts, per component, the tensors of its file that match it;
    None if that is not known. `tokens` are its learned tokens, with the number of vectors for each text encoder, if
    known. `layout` maps each tensor of a LoRA or LyCORIS file to its module. `origin` is the place in the recipe. A
    copy made by `at` has its own number, but the same `at_any_scale`.
    """

    kind: ClassVar[str]
    OPTIONS: ClassVar[tuple[str, ...]] = ()
    """Fields that decide its result, beside its scale and files. The recipe has them under the same names."""

    name: str
    scale: Json = 1.0
    tensors: Mapping[str, int] | None = None
    tokens: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    layout: LoraLayout | None = field(default=None, compare=False, repr=False)
    origin: Place = field(default_factory=Place, compare=False)
    number: int = numbered_once()
    at_any_scale: int = numbered_once()

    def at(self, scale: Json, **shown: Any) -> Self:
        """A copy with another scale, and other fields `shown`; the operation that adds the adapter has neither."""
        made = replace(self, scale=scale, **shown)
        object.__setattr__(made, "at_any_scale", self.at_any_scale)
        return made

    @property
    def sources(self) -> dict[str, AnySource]:
        """Its files by role; none where its members have them."""
        return {}

    @property
    def digests(self) -> list[str]:
        """The digests of its sources."""
        return [source.digest for source in self.sources.values()]

    def placed_sources(self) -> Iterator[tuple[str, AnySource]]:
        """Its files by the paths in the recipe that name them."""
        for role, source in self.sources.items():
            if role == "weights":
                yield f"adapters.{self.name}", source
            else:
                yield f"adapters.{self.name}.{role}", source

    def constants(self) -> dict[str, Json]:
        """The values of the recipe that decide its result, beside its scale and files."""
        return {name: getattr(self, name) for name in self.OPTIONS}

    def with_members(self) -> tuple[ResolvedAdapter, ...]:
        """The members of a merge, and then the adapter itself."""
        return (self,)

    def acts_on(self, texts: Mapping[str, str]) -> bool:
        """Whether it can change images of a prompt with these texts."""
        del texts
        return True

    @property
    def touches_text(self) -> bool:
        """Whether it changes a text encoder or tokenizer; assumed while that is not known."""
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
        """The name of the weights file in its source, which must have been found."""
        return self.source.require_found().files[0].name

    @property
    def path(self) -> Path:
        """The path of the weights file, which must have been found."""
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
        if self.config is None:
            return {"weights": self.source}
        return {"weights": self.source, "config": self.config}


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
        """Whether one of the texts has its token."""
        token = self.token
        return token is None or any(uses(text, [token]) for text in texts.values())


@dataclass(frozen=True, kw_only=True)
class ResolvedIpAdapter(_OfOneFile):
    """An IP-Adapter, with a mask for each image that limits where it acts, or without masks.

    `shortcut` says whether a FaceID Plus file is version 2. `image_prompts` are its images by prompt id; empty if it is
    off.
    """

    kind: ClassVar[str] = "ip_adapter"
    OPTIONS: ClassVar[tuple[str, ...]] = ("shortcut",)

    shortcut: bool = False
    masks: tuple[AnySource, ...] = ()
    image_prompts: Mapping[str, ResolvedImagePrompt] = field(default_factory=dict)

    @property
    def sources(self) -> dict[str, AnySource]:
        """Its files by role."""
        found = {"weights": self.source}
        if len(self.masks) == 1:
            found["mask"] = self.masks[0]
            return found
        for index, mask in enumerate(self.masks):
            found[f"mask[{index}]"] = mask
        return found

    @property
    def touches_text(self) -> bool:
        """False: it changes no text encoder."""
        return False

    @property
    def encoded(self) -> ResolvedImagePrompt | None:
        """The first of its image prompts that needs an image encoder."""
        return next((prompt for prompt in self.image_prompts.values() if prompt.encoder is not None), None)

    def bundled_lora(self) -> ResolvedLora:
        """The LoRA inside a FaceID file."""
        return ResolvedLora(name=f"{self.name}'s LoRA", source=self.source, bundled=True, origin=self.origin)


@dataclass(frozen=True, kw_only=True)
class ResolvedMerge(ResolvedAdapter):
    """Several LoRAs merged into one by one of peft's methods; the members do not act alone.

    The factor of each member is its weight times its scale. Only some methods use `density`, `majority_sign_method`,
    `svd_rank` and `seed`.
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
        """The values of the recipe that decide its result, beside its scale: no options that its method ignores."""
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
    """The base and adapters that a node needs, in the recipe's order and each at its scale. It holds no weights.

    The adapter operations of the graph take a handle and return a handle with one more adapter. Only encoding,
    denoising and decoding load a handle, in `recipe_runner.runtime`. Equal handles make equal images.
    """

    base: ResolvedBase
    adapters: tuple[ResolvedAdapter, ...] = ()
