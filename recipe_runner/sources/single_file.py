"""A base in a single file: identify it by its header, and find its configuration."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

from recipe_runner.pipelines.family import UNET_FAMILIES
from recipe_runner.sources.address import refused
from recipe_runner.sources.base_folder import read_index
from recipe_runner.sources.bundled import bundled_config
from recipe_runner.sources.source import FoundBase
from recipe_runner.weights.checkpoint.checkpoint import identify_checkpoint, stated_scheduler
from recipe_runner.weights.checkpoint.original_layout import require_original
from recipe_runner.weights.files.contents import read_weights
from recipe_runner.weights.modules import Shape

_USUAL = {family.name: family.repository for family in UNET_FAMILIES}
"""The usual repository of each family, which has the parts that a file lacks."""


def looked_into(found: FoundBase, weight_name: str) -> tuple[FoundBase, Mapping[str, Shape]]:
    """The base with the scheduler settings in its file, and the shapes of its tensors.

    Raises:
        WeightsError: E4xx, E607 the file cannot be read, or holds more than tensors.
    """
    contents = read_weights(found.source.path(weight_name), weight_name)
    return replace(found, scheduler=stated_scheduler(contents.weights)), contents.weights


def identified(found: FoundBase, weight_name: str, shapes: Mapping[str, Shape], left_out: Collection[str]) -> FoundBase:
    """A single-file base with the configuration in this package for its family.

    Raises:
        ResolutionError: E417 the file cannot be used as a base model, E419 the package has no configuration of its
            family, E416 it lacks components that the recipe does not replace.
        WeightsError: E501 to E503 its tensors do not match its family.
    """
    checkpoint = identify_checkpoint(shapes)
    if isinstance(checkpoint, str):
        hint = ""
        if "name " not in checkpoint:
            hint = "a base must be a checkpoint of a text-to-image model"
        raise refused("E417", f"{weight_name} cannot be used as a base model: {checkpoint}", hint)
    if checkpoint.config is None:
        message = f"{weight_name} is a {checkpoint.family} checkpoint, and this package has no configuration for it"
        if checkpoint.note:
            message += f" ({checkpoint.note})"
        hint = "set `base.config` to a folder or Hub repository of that model in diffusers' layout"
        raise refused("E419", message, hint)
    lacking = [name for name in checkpoint.missing if name not in left_out]
    if lacking:
        source = _USUAL.get(checkpoint.family, "a folder or repository")
        parts = ", ".join(f"{name}: {{model: {source}, subfolder: {name}}}" for name in lacking)
        hint = f"write `base.components: {{{parts}}}` or the like, or use a whole checkpoint"
        raise refused("E416", f"{weight_name} holds no {' and no '.join(lacking)}", hint)
    require_original(weight_name, checkpoint.family, shapes, left_out)
    config = bundled_config(checkpoint.config)
    index = read_index(config.root, config.address)
    return replace(found, pipeline=index.pipeline, components=index.components, config=config, checkpoint=checkpoint)
