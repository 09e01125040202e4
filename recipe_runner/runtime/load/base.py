"""Make a base model real: a folder or a single file, with the parts that the recipe replaces, as one pipeline."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch

from recipe_runner.plan.resolved import ResolvedBase, ResolvedComponent
from recipe_runner.problems.problem import WeightsError
from recipe_runner.runtime.device.environment import quiet
from recipe_runner.runtime.load.classes import component_class, pipeline_class
from recipe_runner.runtime.load.file_guard import Watch, unchanged
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
    """A base made real. `scheduler` is never used itself: each image gets a fresh copy of it.

    `own_scheduler` is the one the model came with, from which others are configured.
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
    """Load `model` onto `device`, strictly: every parameter comes from its checkpoint, and the parts fit each other.

    Raises:
        WeightsError: E501 to E515; nothing half loaded is ever returned.
    """
    sources = [source.require_found() for source in model.sources.values()]
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
        # The constructor mends outdated scheduler configurations in place; others are configured from the mended one.
        own = parts["scheduler"]
        scheduler = make_scheduler(own, model.scheduler_class, model.scheduler_config)
        pipeline.to(device)
        align(*(part for part in parts.values() if isinstance(part, torch.nn.Module)))
        pipeline.set_progress_bar_config(disable=True)
    return LoadedBase(model, pipeline, own, scheduler, watches)


def _index(model: ResolvedBase) -> PipelineIndex:
    source = _described_in(model)
    return read_index(source.root, source.address)


def _described_in(model: ResolvedBase) -> Source:
    """Where the model's pipeline is described: for a single file, in its configuration's folder."""
    source = model.config if model.weight_name is not None and model.config is not None else model.source
    return source.require_found()


def _load_parts(cls: type[Any], model: ResolvedBase, index: PipelineIndex) -> dict[str, Any]:
    names = cls._get_signature_keys(cls)[0]
    changes = model.components
    for name in changes:
        if name not in names:
            raise WeightsError.of("E512", f"{cls.__name__} has no component `{name}`", f"it has {', '.join(names)}")
        if changes[name] is None and name not in optional_parts(cls):
            raise WeightsError.of("E512", f"{cls.__name__} cannot do without its {name}")
    # IP-Adapters have their encoders loaded where pictures are encoded; the pipeline's own would be a second one.
    unused = [name for name in ("image_encoder",) if name in optional_parts(cls)]
    kept = {name: entry for name, entry in index.components.items() if name not in (*changes, *unused)}
    # Before anything is loaded: what a class reads and runs when it is made is known of those that belong here alone.
    check_classes(cls, {name: component_class(*entry) for name, entry in kept.items()})
    if model.weight_name is not None:
        parts = load_checkpoint(model, kept)
    else:
        source = model.source.require_found()
        parts = {
            name: load_part(
                name,
                component_class(*entry),
                PartFiles(source, name),
                dtype=model.dtype,
                variant=model.variant,
                allow_pickle=model.allow_pickle,
            )
            for name, entry in kept.items()
        }
    for name, change in changes.items():
        needed = None if name in unused else change
        parts[name] = None if needed is None else _load_replacement(name, needed, cls, model, index)
    return {**dict.fromkeys(names), **parts}


def _load_replacement(
    name: str, part: ResolvedComponent, cls: type[Any], model: ResolvedBase, index: PipelineIndex
) -> Any:
    source = part.source.require_found()
    own_class = component_class(*index.components[name]) if name in index.components else _expected_class(cls, name)
    if part.weight_name is not None:
        file = source.root / (part.subfolder or "") / part.weight_name
        config = PartFiles(_described_in(model), name)
        return load_part_file(name, own_class, file, config, dtype=part.dtype, allow_pickle=model.allow_pickle)
    files = PartFiles(source, part.subfolder or "")
    # Beside a tokenizer may lie the config.json of a model.
    declared = stated_class(files) if issubclass(own_class, torch.nn.Module) else None
    chosen = own_class if declared in (None, own_class.__name__) else _declared(name, str(declared))
    check_classes(cls, {name: chosen})
    return load_part(name, chosen, files, dtype=part.dtype, variant=part.variant, allow_pickle=model.allow_pickle)


def _declared(name: str, declared: str) -> type[Any]:
    for library in ("diffusers", "transformers"):
        found = getattr(__import__(library), declared, None)
        if isinstance(found, type):
            return component_class(library, declared)
    raise WeightsError.of("E514", f"{name}: its config.json names the class `{declared}`, which is not known here")


def _expected_class(cls: type[Any], name: str) -> type[Any]:
    types = [each for each in cls._get_signature_types().get(name, ()) if isinstance(each, type)]
    if not types:
        raise WeightsError.of("E512", f"{cls.__name__}: the type of `{name}` is not known, so it cannot be replaced")
    return types[0]


def _settings(cls: type[Any], model: ResolvedBase) -> Mapping[str, Any]:
    # What model_index.json sets beside the components: requires_safety_checker, force_zeros_for_empty_prompt, …
    source = _described_in(model)
    tree = json.loads((source.root / INDEX).read_bytes())
    _, settings = cls._get_signature_keys(cls)
    return {name: tree[name] for name in settings if name in tree}


def _without_scheduler(model: ResolvedBase) -> ResolvedBase:
    return replace(model, scheduler_class=None, scheduler_config={})
