"""Look up diffusers' and transformers' classes by name; nothing else is imported for a model."""

from __future__ import annotations

from typing import Any

import diffusers
import transformers
from diffusers import DiffusionPipeline, SchedulerMixin

from recipe_runner.problems.problem import WeightsError
from recipe_runner.problems.suggest import nearest


def pipeline_class(name: str) -> type[Any]:
    """The diffusers pipeline class called `name`; E514 if it does not exist."""
    return _exported(diffusers, name, DiffusionPipeline, "pipeline")


def scheduler_class(name: str) -> type[Any]:
    """The diffusers scheduler class called `name`; E514 if it does not exist."""
    return _exported(diffusers, name, SchedulerMixin, "scheduler")


def component_class(library: str, name: str) -> type[Any]:
    """The class that model_index.json calls `[library, name]`; E514 if it does not exist.

    `library` is diffusers, transformers, or a module of diffusers.pipelines such as `stable_diffusion`.
    """
    libraries = {"diffusers": diffusers, "transformers": transformers}
    home = libraries.get(library) or getattr(diffusers.pipelines, library, None)
    if home is None:
        raise WeightsError.of("E514", f"`{library}` is not a library of components")
    return _exported(home, name, object, "component")


def _exported(home: Any, name: str, base: type, kind: str) -> type[Any]:
    found = getattr(home, name, None)
    if isinstance(found, type) and "dummy" in found.__module__:
        backends = ", ".join(getattr(found, "_backends", []))
        raise WeightsError.of("E514", f"the {kind} class `{name}` needs a package that is not installed ({backends})")
    if not isinstance(found, type) or not issubclass(found, base):
        best = nearest(name, [other for other in dir(home) if kind in other.lower()])
        hint = "" if best is None else f"Did you mean `{best}`?"
        raise WeightsError.of("E514", f"{getattr(home, '__name__', home)} has no {kind} class `{name}`", hint)
    return found
