"""Model handles: values that say which base, adapters and scales a node needs. They hold no weights.

The adapter operations of the graph take a handle and return one with an entry more; only encoding, denoising and
decoding make a handle real, in `recipe_runner.runtime`. Equal handles make equal images.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from recipe_runner.canonical import Json
from recipe_runner.problems.place import Place
from recipe_runner.sources.source import Source
from recipe_runner.weights.ip_adapter import Shown


@dataclass(frozen=True, kw_only=True)
class ComponentModel:
    """A replaced component: a folder (`subfolder` inside the source, or its root) or a single weights file."""

    source: Source
    subfolder: str | None = None
    weight_name: str | None = None
    variant: str | None = None
    dtype: str | None = None


@dataclass(frozen=True, kw_only=True)
class BaseModel:
    """The base. `weight_name` is set for a single-file checkpoint, whose configuration is then in `config`.

    `key` is the node key of its load_base operation: equal keys are equal pipelines. `pipeline` is a diffusers class
    name, never `auto`. `scheduler_class` None keeps the base's own class. `origin` is where the recipe says it.
    """

    key: str
    source: Source
    pipeline: str
    dtype: str = "float32"
    variant: str | None = None
    weight_name: str | None = None
    config: Source | None = None
    scheduler_class: str | None = None
    scheduler_config: Mapping[str, Json] | None = None
    components: Mapping[str, ComponentModel | None] | None = None
    allow_pickle: bool = False
    origin: Place = field(default_factory=Place, compare=False)


@dataclass(frozen=True, kw_only=True)
class LoraModel:
    """A LoRA: the file `weight_name` of `source`, loaded into `target` only when that is set.

    `config` is the PEFT configuration beside it. `bundled` is the one inside a FaceID adapter's file. `origin` is where
    the recipe says it.
    """

    key: str
    name: str
    source: Source
    weight_name: str
    target: str | None = None
    alpha: float | None = None
    config: Source | None = None
    bundled: bool = False
    origin: Place = field(default_factory=Place, compare=False)


@dataclass(frozen=True, kw_only=True)
class TextualInversionModel:
    """A textual inversion: the file `weight_name` of `source`, for every text encoder that it holds vectors for.

    `token` None takes the one that the file names; `target` limits it to one encoder. `origin` is where the recipe says
    it.
    """

    key: str
    name: str
    source: Source
    weight_name: str
    token: str | None = None
    target: str | None = None
    origin: Place = field(default_factory=Place, compare=False)


@dataclass(frozen=True, kw_only=True)
class MergeModel:
    """Several LoRAs merged into one by one of peft's methods; the members do not act alone.

    Each goes in with its weight times its scale (a number or the recipe's mapping). `density`, `majority_sign_method`,
    `svd_rank` and `seed` are for the methods that read them.
    """

    key: str
    name: str
    members: tuple[LoraModel, ...]
    weights: tuple[float, ...]
    scales: tuple[Json, ...]
    combination_type: str
    density: float | None = None
    majority_sign_method: str = "total"
    svd_rank: int | None = None
    seed: int = 0
    origin: Place = field(default_factory=Place, compare=False)


@dataclass(frozen=True, kw_only=True)
class IpAdapterModel:
    """An IP-Adapter: the file `weight_name` of `source`, with a picture for each image that limits where it acts.

    `shortcut` is that of a FaceID Plus file: whether it is version 2. `origin` is where the recipe says it.
    """

    key: str
    name: str
    source: Source
    weight_name: str
    shortcut: bool = False
    masks: tuple[Source, ...] = ()
    origin: Place = field(default_factory=Place, compare=False)

    def bundled_lora(self) -> LoraModel:
        """The LoRA inside its file, of one that has it (FaceID)."""
        return LoraModel(
            key=self.key,
            name=f"{self.name}'s LoRA",
            source=self.source,
            weight_name=self.weight_name,
            bundled=True,
            origin=self.origin,
        )


AdapterModel = LoraModel | MergeModel | TextualInversionModel | IpAdapterModel


@dataclass(frozen=True, kw_only=True)
class ImagePrompt:
    """What an IP-Adapter called `name` is shown: pictures, embeddings, or both, each a source of one file.

    `shown` says what to make of them, `faces` are the models that find faces in pictures.
    """

    name: str
    shown: Shown
    pictures: tuple[Source, ...] = ()
    embeds: tuple[Source, ...] = ()
    encoder: ComponentModel | None = None
    faces: Source | None = None
    allow_pickle: bool = False


@dataclass(frozen=True, kw_only=True)
class ModelHandle:
    """Base, adapters in the recipe's order, and a scale for each (a number or the recipe's scale mapping).

    `key` is the node key of the operation that returned the handle.
    """

    key: str
    base: BaseModel
    adapters: tuple[AdapterModel, ...] = ()
    scales: Mapping[str, Json] | None = None

    def scale(self, name: str) -> Json:
        """The scale of the adapter called `name`; 1.0 where none was set."""
        return (self.scales or {}).get(name, 1.0)
