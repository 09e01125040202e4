"""Find the image encoder of an IP-Adapter: its own, the base's, or the one in the folder beside the weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any

from recipe_runner.plan.adapters.kind import ResolveContext
from recipe_runner.plan.checks.configurations import check_component_configuration
from recipe_runner.plan.resolve_base import resolve_component
from recipe_runner.plan.resolved_base import ResolvedBase, ResolvedComponent
from recipe_runner.problems.problem import RecipeRunnerError, WeightsError
from recipe_runner.recipe.types.recipe import Component, IpAdapter
from recipe_runner.sources.base_folder import INDEX, read_index
from recipe_runner.sources.component_files import read_json
from recipe_runner.sources.source import Source
from recipe_runner.weights.files.formats import WEIGHTS_SUFFIXES

FOLDER = "image_encoder"


def find_image_encoder(name: str, adapter: IpAdapter, context: ResolveContext) -> ResolvedComponent:
    """The encoder of an adapter that needs one.

    Raises:
        WeightsError: E643 no encoder was found.
        RecipeRunnerError: E4xx the named encoder is broken or refused.
    """
    base = context.base
    if adapter.image_encoder is not None:
        return resolve_component(
            FOLDER, adapter.image_encoder, base.dtype, context.folder, allow_pickle=context.allow_pickle
        )
    return base.components.get(FOLDER) or _listed(base) or _beside(name, adapter, context)


def encoder_config(encoder: ResolvedComponent, label: str) -> Mapping[str, Any] | None:
    """The encoder's config.json; None if its files are not on this machine.

    Raises:
        WeightsError: E643 the encoder is a single file, which has no configuration; E517 the configuration contradicts
            the encoder's weights.
        ResolutionError: E407, E416, E422 the configuration is broken, missing or refused.
    """
    if encoder.weight_name is not None:
        message = f"{label}: the image encoder {encoder.weight_name} is a single file, which has no configuration"
        raise WeightsError.of("E643", message, "name its folder, with config.json beside the weights")
    if not isinstance(encoder.source, Source):
        return None
    check_component_configuration(FOLDER, encoder)
    name = "config.json"
    if encoder.subfolder:
        name = f"{encoder.subfolder}/{name}"
    return read_json(encoder.source.path(name), f"{encoder.source.address}/{name}")


def _listed(base: ResolvedBase) -> ResolvedComponent | None:
    """The encoder in the base's own folder, if the pipeline was saved with one."""
    if FOLDER in base.components or not isinstance(base.source, Source) or not (base.source.root / INDEX).is_file():
        return None
    if FOLDER not in read_index(base.source.root, base.source.address).components:
        return None
    files = tuple(file for file in base.source.files if file.name.startswith(f"{FOLDER}/"))
    return ResolvedComponent(
        source=replace(base.source, files=files),
        subfolder=FOLDER,
        weight_name=None,
        variant=base.variant,
        dtype=base.dtype,
    )


def _beside(name: str, adapter: IpAdapter, context: ResolveContext) -> ResolvedComponent:
    model, subfolder = adapter.model, adapter.subfolder
    if model.lower().endswith(WEIGHTS_SUFFIXES):
        model = str(PurePosixPath(model).parent)
    elif adapter.weight_name is not None:
        subfolder = str(PurePosixPath(subfolder or "", adapter.weight_name).parent)
    component = Component(model=model, revision=adapter.revision, subfolder=str(PurePosixPath(subfolder or "", FOLDER)))
    try:
        return resolve_component(
            FOLDER, component, context.base.dtype, context.folder, allow_pickle=context.allow_pickle
        )
    except RecipeRunnerError as error:
        reason = error.problems[0].message
        raise WeightsError.of(
            "E643",
            f"adapter {name} needs an image encoder: none is named, in the base, or beside its weights ({reason})",
            "write `image_encoder: {model: …}`, such as {model: h94/IP-Adapter, subfolder: models/image_encoder}",
        ) from error
