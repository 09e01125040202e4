"""Load a base model, a folder or a single file with the components that the recipe replaces, as one pipeline."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from recipe_runner.plan.resolved_base import ResolvedBase, ResolvedComponent
from recipe_runner.problems.problem import WeightsError
from recipe_runner.runtime.device.environment import quiet
from recipe_runner.runtime.load.classes import component_class, pipeline_class
from recipe_runner.runtime.load.file_guard import Watch, require_found, unchanged
from recipe_runner.runtime.load.fit import check_classes, check_shapes, check_types, optional_parts
from recipe_runner.runtime.load.part_files import PartFiles
from recipe_runner.runtime.load.parts import load_part, stated_class
from recipe_runner.runtime.load.schedulers import make_scheduler
from recipe_runner.runtime.load.single_file import load_checkpoint, load_part_file
from recipe_runner.runtime.load.tensors import align
from recipe_runner.sources.base_folder import INDEX, PipelineIndex, read_index
from recipe_runner.sources.source import Source


@dataclass
class LoadedBase:
    """A loaded base. `scheduler` is never used itself: each image gets a fresh copy of it.

    `own_scheduler` is the model's scheduler, from which others are configured.
    """

    model: ResolvedBase
    pipeline: Any
    own_scheduler: Any
    scheduler: Any
    watches: tuple[Watch, ...]

    def differs_only_in_scheduler(self, wanted: ResolvedBase) -> bool:
        """Whether `wanted` is this base with another scheduler (or the same)."""
        return _without_scheduler(self.model) == _without_scheduler(wanted)

    def change_scheduler(self, wanted: ResolvedBase) -> None:
        """Take over the scheduler of `wanted`, which differs from this base in nothing else."""
        self.scheduler = make_scheduler(self.own_scheduler, wanted.scheduler_class, wanted.scheduler_config)
        self.model = wanted

    def check_files(self) -> None:
        """Raise E508 when a file that this base was loaded from has changed since."""
        for watch in self.watches:
            watch.check()


def load_base(model: ResolvedBase, device: torch.device) -> LoadedBase:
    """Load `model` onto `device`, strictly: the checkpoint fills every parameter, and the components fit each other.

    Raises:
        WeightsError: E501 to E515; a partly loaded base is never returned.
    """
    sources = require_found(model.sources.values())
    cls = pipeline_class(model.pipeline)
    with unchanged(*sources) as watches, quiet():
        index = _index(model)
        parts = _load_parts(cls, model, index)
        left_out = [name for name, part in model.components.items() if part is None]
        check_types(cls, parts, index.pipeline, left_out)
        check_shapes(parts)
        try:
            pipeline = cls(**parts, **_settings(cls, model))
        except (ValueError, TypeError, AttributeError) as cause:
            raise WeightsError.of("E505", f"{cls.__name__} cannot be put together: {cause}") from cause
        # The constructor updates outdated scheduler configurations in place; others are configured from the result.
        own = parts["scheduler"]
        scheduler = make_scheduler(own, model.scheduler_class, model.scheduler_config)
        pipeline.to(device)
        for part in parts.values():
            if isinstance(part, torch.nn.Module):
                align(part)
        pipeline.set_progress_bar_config(disable=True)
    return LoadedBase(model, pipeline, own, scheduler, watches)


def _index(model: ResolvedBase) -> PipelineIndex:
    source = _described_in(model)
    return read_index(source.root, source.address)


def _described_in(model: ResolvedBase) -> Source:
    """The folder with the model's pipeline description: for a single file, its configuration's folder."""
    if model.weight_name is not None and model.config is not None:
        return model.config.require_found()
    return model.source.require_found()


def _load_parts(cls: type[Any], model: ResolvedBase, index: PipelineIndex) -> dict[str, Any]:
    names = cls._get_signature_keys(cls)[0]
    _check_replacements(cls, names, model.components)
    unused = _unused_parts(cls)
    kept = {name: entry for name, entry in index.components.items() if name not in (*model.components, *unused)}
    # Before anything is loaded: only classes that the pipeline names may read files and run when they are made.
    check_classes(cls, {name: component_class(*entry) for name, entry in kept.items()})
    parts = _load_own_parts(model, kept)
    for name, change in model.components.items():
        if change is None or name in unused:
            parts[name] = None
        else:
            parts[name] = _load_replacement(name, change, cls, model, index)
    return {**dict.fromkeys(names), **parts}


def _check_replacements(cls: type[Any], names: Sequence[str], changes: Mapping[str, ResolvedComponent | None]) -> None:
    """Raise E512 unless the pipeline class has each component that the recipe replaces, and needs none set to null."""
    for name, change in changes.items():
        if name not in names:
            raise WeightsError.of("E512", f"{cls.__name__} has no component `{name}`", f"it has {', '.join(names)}")
        if change is None and name not in optional_parts(cls):
            raise WeightsError.of("E512", f"{cls.__name__} requires a {name}")


def _unused_parts(cls: type[Any]) -> tuple[str, ...]:
    # Each IP-Adapter loads its own image encoder to encode images; the pipeline's would be a second one.
    if "image_encoder" in optional_parts(cls):
        return ("image_encoder",)
    return ()


def _load_own_parts(model: ResolvedBase, components: Mapping[str, tuple[str, str]]) -> dict[str, Any]:
    if model.weight_name is not None:
        return load_checkpoint(model, components)
    source = model.source.require_found()
    parts = {}
    for name, entry in components.items():
        parts[name] = load_part(
            name,
            component_class(*entry),
            PartFiles(source, name),
            dtype=model.dtype,
            variant=model.variant,
            allow_pickle=model.allow_pickle,
        )
    return parts


def _load_replacement(
    name: str, part: ResolvedComponent, cls: type[Any], model: ResolvedBase, index: PipelineIndex
) -> Any:
    source = part.source.require_found()
    own_class = _own_class(name, cls, index)
    if part.weight_name is not None:
        file = source.root / (part.subfolder or "") / part.weight_name
        config = PartFiles(_described_in(model), name)
        return load_part_file(name, own_class, file, config, dtype=part.dtype, allow_pickle=model.allow_pickle)
    files = PartFiles(source, part.subfolder or "")
    chosen = _replacement_class(name, own_class, files)
    check_classes(cls, {name: chosen})
    return load_part(name, chosen, files, dtype=part.dtype, variant=part.variant, allow_pickle=model.allow_pickle)


def _replacement_class(name: str, own_class: type[Any], files: PartFiles) -> type[Any]:
    # Not asked of a tokenizer: the config.json in its folder may be a model's.
    if issubclass(own_class, torch.nn.Module):
        declared = stated_class(files)
        if declared is not None and declared != own_class.__name__:
            return _declared(name, declared)
    return own_class


def _declared(name: str, declared: str) -> type[Any]:
    for library in ("diffusers", "transformers"):
        found = getattr(__import__(library), declared, None)
        if isinstance(found, type):
            return component_class(library, declared)
    raise WeightsError.of(
        "E514", f"{name}: its config.json names the class `{declared}`, which neither diffusers nor transformers has"
    )


def _own_class(name: str, cls: type[Any], index: PipelineIndex) -> type[Any]:
    """The class that the model's index names for a component, else the first that the pipeline's signature names."""
    if name in index.components:
        return component_class(*index.components[name])
    for expected in cls._get_signature_types().get(name, ()):
        if isinstance(expected, type):
            return expected
    raise WeightsError.of("E512", f"{cls.__name__}: the type of `{name}` is unknown, so it cannot be replaced")


def _settings(cls: type[Any], model: ResolvedBase) -> Mapping[str, Any]:
    # Settings that model_index.json lists beside components: requires_safety_checker, force_zeros_for_empty_prompt, …
    source = _described_in(model)
    tree = json.loads((source.root / INDEX).read_bytes())
    _, settings = cls._get_signature_keys(cls)
    return {name: tree[name] for name in settings if name in tree}


def _without_scheduler(model: ResolvedBase) -> ResolvedBase:
    return replace(model, scheduler_class=None, scheduler_config={})
