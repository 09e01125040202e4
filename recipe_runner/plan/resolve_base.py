"""The base section resolved: its sources found, its pipeline class decided."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from recipe_runner.canonical import Json
from recipe_runner.pipelines.table import schedulers
from recipe_runner.plan.resolved import AnySource, ResolvedBase, ResolvedComponent
from recipe_runner.problems.place import Place
from recipe_runner.problems.problem import WeightsError
from recipe_runner.recipe.types.recipe import Base, Component
from recipe_runner.sources.find import find_base, find_component
from recipe_runner.sources.missing import SourceMissing, unresolved
from recipe_runner.sources.source import Address
from recipe_runner.weights.files.header import read_header


def resolve_base(base: Base, folder: Path, origin: Place, *, allow_pickle: bool) -> ResolvedBase:
    """Resolve the base as seen from the recipe's `folder`.

    Raises:
        RecipeRunnerError: as `find_base` and `find_component`, except for what is merely not on this machine.
    """
    components = {
        name: None
        if component is None
        else resolve_component(name, component, base.dtype, folder, allow_pickle=allow_pickle)
        for name, component in base.components.items()
    }
    address = Address.of(base)
    scheduler = base.scheduler
    source: AnySource
    config: AnySource | None = None
    pipeline, weight_name = base.pipeline, base.weight_name
    stated: Mapping[str, Json] = {}
    try:
        found = find_base(
            address,
            folder=folder,
            config=base.config,
            left_out=tuple(base.components),
            described=tuple(name for name, part in components.items() if part is not None and part.weight_name),
            allow_pickle=allow_pickle,
        )
    except SourceMissing as error:
        source = unresolved(error, address)
    else:
        for file in found.source.files:
            if file.name.endswith(".safetensors"):
                # A broken file is told here, and not where an adapter or a warning first looks into it.
                read_header(found.source.path(file.name))
        source, config, weight_name, stated = found.source, found.config, found.weight_name, found.scheduler
        if scheduler is not None and scheduler.class_name is not None:
            _require_parameters(scheduler.class_name, stated, found.weight_name)
        if pipeline == "auto":
            pipeline = found.pipeline or "auto"
    return ResolvedBase(
        source=source,
        pipeline=pipeline,
        weight_name=weight_name,
        config=config,
        dtype=base.dtype,
        variant=base.variant,
        scheduler_class=scheduler.class_name if scheduler else None,
        scheduler_config={**stated, **(scheduler.config if scheduler else {})},
        components=components,
        allow_pickle=allow_pickle,
        origin=origin,
    )


def _require_parameters(class_name: str, stated: Mapping[str, Json], shown: str | None) -> None:
    """Raise E510 unless the scheduler can do what the checkpoint itself states that it needs."""
    known = schedulers()
    taken = known.get(class_name, {}).get("config", stated)
    for key in stated:
        if key not in taken:
            able = ", ".join(name for name, entry in known.items() if all(each in entry["config"] for each in stated))
            message = f"{shown} states that it needs {key}, and {class_name} has no such parameter"
            raise WeightsError.of("E510", message, f"choose a scheduler that has it: {able}")


def resolve_component(
    name: str, component: Component, dtype: str, folder: Path, *, allow_pickle: bool
) -> ResolvedComponent:
    """Find the replaced component `name`; `dtype` is the base's."""
    address = Address.of(component)
    dtype = component.dtype or dtype
    try:
        found = find_component(
            address,
            folder=folder,
            name=name,
            allow_pickle=allow_pickle,
        )
    except SourceMissing as error:
        return ResolvedComponent(
            source=unresolved(error, address),
            subfolder=component.subfolder,
            weight_name=component.weight_name,
            variant=component.variant,
            dtype=dtype,
        )
    return ResolvedComponent(
        source=found.source,
        subfolder=found.subfolder,
        weight_name=found.weight_name,
        variant=component.variant,
        dtype=dtype,
    )
