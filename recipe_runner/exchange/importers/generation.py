"""What a foreign text says of how a picture was made: between every reader and the recipe writer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from recipe_runner.problems.problem import RecipeRunnerError

if TYPE_CHECKING:
    from recipe_runner.canonical import Json


class ImportRefused(RecipeRunnerError):
    """A foreign text or picture that no recipe can be made of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignModel:
    """A model as a program names it: a file, often without suffix or folder, or a Hub repository.

    `hashes` are short hashes as the text has them, by what they are of (`Model hash`, `sha256`); hints, never trusted.
    `options` are further keys of the recipe: revision, variant, subfolder, weight_name. `hub` says that the name is an
    address of diffusers' kind, so that `organisation/name` means a Hub repository and not a file in a folder.
    """

    name: str
    hashes: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, str] = field(default_factory=dict)
    hub: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignAdapter:
    """A LoRA with its scale, or an embedding with the token that prompts use."""

    kind: Literal["lora", "textual_inversion"]
    model: ForeignModel
    scale: Json = 1.0
    token: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """How one picture was made, as far as a foreign text says it; nothing in it is checked yet.

    Attributes:
        program: what wrote the text, for people.
        prompts: `prompt`, `negative_prompt`, `prompt_2`, … without tags of other programs.
        seeds: none where the text says none.
        sampling: arguments of the pipeline call under diffusers' names; clip_skip in diffusers' count.
        sampler, schedule: the program's own names.
        flow: whether the base is a flow-matching model, as far as the text shows.
        base: None where the text does not name it.
        scheduler: class and configuration, where the text names diffusers' own.
        lost: one sentence for each thing that the recipe will not do.
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
