"""The resolved base and its components."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from recipe_runner.canonical import Json
from recipe_runner.problems.place import Place
from recipe_runner.sources.missing import Unresolved
from recipe_runner.sources.source import Source

AnySource = Source | Unresolved

_NUMBERS = count()


def numbered_once() -> Any:
    """A field for a number that no other object has, as a key for what is remembered about an object."""
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
        """The values of the recipe that decide the component, beside its files."""
        return {
            "subfolder": self.subfolder,
            "weight_name": self.weight_name,
            "variant": self.variant,
            "dtype": self.dtype,
        }


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
        """The values of the recipe that decide the base, beside its files."""
        components: dict[str, Json] = {}
        for name, component in self.components.items():
            components[name] = None
            if component is not None:
                components[name] = component.constants()
        return {
            "pipeline": self.pipeline,
            "dtype": self.dtype,
            "variant": self.variant,
            "single_file": self.weight_name is not None,
            "scheduler": {"class": self.scheduler_class, "config": self.scheduler_config},
            "components": components,
        }

    def part_folder(self, name: str) -> tuple[AnySource | None, str]:
        """The source with the configuration of the component `name`, and the start of its file names there.

        The source is None for a component that is left out. A component that is a single file is read with the base's
        own configuration.
        """
        if name in self.components:
            component = self.components[name]
            if component is None:
                return None, ""
            if component.weight_name is None:
                if not component.subfolder:
                    return component.source, ""
                return component.source, f"{component.subfolder}/"
        if self.weight_name is not None:
            return self.config, f"{name}/"
        return self.source, f"{name}/"

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
