"""What another program's text says about how an image was made: every reader makes it, the recipe writer takes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from recipe_runner.exchange.importers.foreign_json import float_or, integer_of
from recipe_runner.problems.problem import RecipeRunnerError

if TYPE_CHECKING:
    from recipe_runner.canonical import Json


NOISE = "the noise was drawn on {}, here on the CPU: the same seed gives another image"
"""The sentence about a generation whose noise came from another device."""


class ImportRefused(RecipeRunnerError):
    """A text or image of another program that cannot become a recipe."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignModel:
    """A model as a program names it: a file, often without suffix or folder, or a Hub repository.

    `hashes` are short hashes from the text, by their kind (`Model hash`, `sha256`): hints, never trusted. `options` are
    further keys of the recipe: revision, variant, subfolder, weight_name. With `hub` the name is an address that
    diffusers takes, so `organisation/name` is a Hub repository and not a file in a folder.
    """

    name: str
    hashes: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, str] = field(default_factory=dict)
    hub: bool = False

    @classmethod
    def hashed(cls, name: str, kind: str, value: Any) -> ForeignModel:
        """A model with the hash `value` of this kind, or without a hash when the text has none."""
        if not value:
            return cls(name=name)
        return cls(name=name, hashes={kind: str(value)})


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignAdapter:
    """A LoRA with its scale, or an embedding with the token that prompts use."""

    kind: Literal["lora", "textual_inversion"]
    model: ForeignModel
    scale: Json = 1.0
    token: str | None = None

    @classmethod
    def lora(cls, model: ForeignModel, weight: Any) -> ForeignAdapter:
        """A LoRA with `weight` as its scale, 1.0 when that is not a number."""
        return cls(kind="lora", model=model, scale=float_or(1.0, weight))


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignGeneration:
    """How one image was made, as far as another program's text says it. Nothing in it is checked yet.

    Attributes:
        program: the program that wrote the text, as people call it.
        prompts: `prompt`, `negative_prompt`, `prompt_2`, … without tags of other programs.
        seeds: empty when the text has none.
        sampling: arguments of the pipeline call under diffusers' names; clip_skip as diffusers counts.
        sampler, schedule: names as the program writes them.
        flow: whether the base is a flow-matching model, as far as the text shows.
        base: None when the text does not name it.
        scheduler: class and configuration, when the text names them as diffusers does.
        lost: one sentence for each thing that the recipe does not do.
    """

    program: str
    prompts: Mapping[str, str]
    seeds: tuple[int, ...] = ()
    sampling: Mapping[str, Json] = field(default_factory=dict)
    sampler: str | None = None
    schedule: str = ""
    scheduler: tuple[str | None, Mapping[str, Json]] | None = None
    flow: bool = False
    base: ForeignModel | None = None
    pipeline: str | None = None
    dtype: str | None = None
    components: Mapping[str, ForeignModel] = field(default_factory=dict)
    adapters: tuple[ForeignAdapter, ...] = ()
    lost: tuple[str, ...] = ()


def with_vae(model: ForeignModel | None) -> dict[str, ForeignModel]:
    """The components of a base with this VAE; None is the base's own."""
    return {} if model is None else {"vae": model}


def single_seed(value: Any) -> tuple[int, ...]:
    """The seeds of a text that names one; empty when `value` is not a whole number."""
    seed = integer_of(value)
    return () if seed is None else (seed,)


def guidance_of(cfg: float | None, distilled: float | None) -> dict[str, Json]:
    """Guidance under diffusers' names; beside distilled guidance, CFG above 1 is the true one."""
    if distilled is None:
        return {"guidance_scale": cfg}
    if cfg is None or cfg <= 1:
        return {"guidance_scale": distilled}
    return {"guidance_scale": distilled, "true_cfg_scale": cfg}


def clip_skip_of(layer: int | None) -> int | None:
    """The clip_skip of diffusers for a layer counted from the end, where 1 or -1 is the last; None for the last."""
    if layer is None or abs(layer) <= 1:
        return None
    return abs(layer) - 1
