"""Resolve the base section: find its sources and decide its pipeline class."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from recipe_runner.canonical import Json
from recipe_runner.pipelines.table import schedulers
from recipe_runner.plan.resolved_base import AnySource, ResolvedBase, ResolvedComponent
from recipe_runner.problems.place import Place
from recipe_runner.problems.problem import WeightsError
from recipe_runner.recipe.types.recipe import Base, Component
from recipe_runner.sources.find import find_base, find_component
from recipe_runner.sources.missing import SourceMissing, unresolved
from recipe_runner.sources.source import Address, Source
from recipe_runner.weights.files.header import read_header


def resolve_base(base: Base, folder: Path, origin: Place, *, allow_pickle: bool) -> ResolvedBase:
    """Resolve the base as seen from the recipe's `folder`.

    Raises:
        RecipeRunnerError: as `find_base` and `find_component`, but not for sources that are not on this machine.
    """
    components: dict[str, ResolvedComponent | None] = {}
    for name, component in base.components.items():
        components[name] = None
        if component is not None:
            components[name] = resolve_component(name, component, base.dtype, folder, allow_pickle=allow_pickle)
    address = Address.of(base)
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
        _check_headers(found.source)
        source, config, weight_name, stated = found.source, found.config, found.weight_name, found.scheduler
        if pipeline == "auto":
            pipeline = found.pipeline or "auto"
    scheduler_class = None
    scheduler_config = dict(stated)
    if base.scheduler is not None:
        scheduler_class = base.scheduler.class_name
        if scheduler_class is not None and isinstance(source, Source):
            _require_parameters(scheduler_class, stated, weight_name)
        scheduler_config |= base.scheduler.config
    return ResolvedBase(
        source=source,
        pipeline=pipeline,
        weight_name=weight_name,
        config=config,
        dtype=base.dtype,
        variant=base.variant,
        scheduler_class=scheduler_class,
        scheduler_config=scheduler_config,
        components=components,
        allow_pickle=allow_pickle,
        origin=origin,
    )


def _check_headers(source: Source) -> None:
    """Read every safetensors header, so that a broken file is reported before any check reads it."""
    for file in source.files:
        if file.name.endswith(".safetensors"):
            read_header(source.path(file.name))


def _require_parameters(class_name: str, stated: Mapping[str, Json], file_name: str | None) -> None:
    """Raise E510 unless the scheduler has every parameter that the checkpoint itself states."""
    known = schedulers()
    taken = known.get(class_name, {}).get("config", stated)
    for key in stated:
        if key not in taken:
            suitable = ", ".join(name for name, entry in known.items() if stated.keys() <= entry["config"].keys())
            message = f"{file_name} states that it needs {key}, and {class_name} has no such parameter"
            raise WeightsError.of("E510", message, f"choose a scheduler that has it: {suitable}")


def resolve_component(
    name: str, component: Component, dtype: str, folder: Path, *, allow_pickle: bool
) -> ResolvedComponent:
    """Find the replaced component `name`; `dtype` is the base's."""
    address = Address.of(component)
    source: AnySource
    subfolder, weight_name = component.subfolder, component.weight_name
    try:
        found = find_component(
            address,
            folder=folder,
            name=name,
            allow_pickle=allow_pickle,
        )
    except SourceMissing as error:
        source = unresolved(error, address)
    else:
        source, subfolder, weight_name = found.source, found.subfolder, found.weight_name
    return ResolvedComponent(
        source=source,
        subfolder=subfolder,
        weight_name=weight_name,
        variant=component.variant,
        dtype=component.dtype or dtype,
    )
