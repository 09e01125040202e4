"""The components of a resolved base: their classes and configurations, and how many numbers their weights hold."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from recipe_runner.pipelines.component_classes import kind_of_class
from recipe_runner.pipelines.component_fit import ComponentConfig, misfits
from recipe_runner.pipelines.family import PIPELINE_FAMILIES
from recipe_runner.plan.resolved_base import AnySource, ResolvedBase, ResolvedComponent
from recipe_runner.problems.problem import Problem, WeightsError
from recipe_runner.sources.source import Source
from recipe_runner.weights.files.contents import read_weights

INDEX = "model_index.json"
_SAME_MODEL = "replace a component only by one that was made for the same model"
_CONFIG = "config.json"
_SIZES = ("cross_attention_dim", "latent_channels", "hidden_size")
"""Sizes that both a configuration and the tensors of a single file have."""


def check_components(base: ResolvedBase) -> None:
    """Refuse replaced components of another type, and components whose widths do not fit each other.

    Raises:
        WeightsError: E506 a component of another type, E507 components that do not fit each other.
    """
    if not base.components or not isinstance(base.source, Source):
        return
    classes, parts = index_classes(base), base_parts(base)
    for name, component in base.components.items():
        if name in classes and component is not None:
            _check_component(name, component, classes[name], parts.get(name))
    for reason in misfits(parts):
        raise WeightsError(Problem(code="E507", message=reason, hint=_SAME_MODEL))


def _check_component(name: str, component: ResolvedComponent, class_name: str, part: ComponentConfig | None) -> None:
    """Compare a replaced component with `class_name`, the class that the base's index names.

    Raises:
        WeightsError: E506 it is of another type; as `_check_file`.
    """
    if component.weight_name is not None:
        config: Mapping[str, Any] = {}
        if part is not None:
            config = part.config
        _check_file(name, component, class_name, config)
        return
    if part is None:
        return
    wanted, found = kind_of_class(class_name), kind_of_class(part.class_name)
    if wanted is not None and found is not None and wanted != found:
        message = f"{name}: the pipeline needs a {class_name}, and this is a {part.class_name}"
        hint = f"name a folder or file of a {class_name}"
        raise WeightsError(Problem(code="E506", message=message, hint=hint))


def _check_file(name: str, component: ResolvedComponent, said: str, config: Mapping[str, Any]) -> None:
    """Compare a component's single file with the class `said` and the base's own `config` of the component.

    Raises:
        WeightsError: E412 it has no tensors, E506 its tensors are of another type, E507 it was made for another model,
            E607 it has objects other than tensors.
    """
    if not isinstance(component.source, Source):
        return
    # Imported only for a component that is a single file, because it imports every kind.
    from recipe_runner.weights.identify.identity import identify_file  # noqa: PLC0415

    file = component.source.files[0].name
    read_weights(component.source.path(file), f"{name}: {file}")
    found, wanted = identify_file(component.source.path(file)), kind_of_class(said)
    # A file of unknown kind may still fit, and of a whole checkpoint only this component is used.
    if wanted is not None and found.kind not in (wanted, "checkpoint", "unknown"):
        message = f"{name}: the pipeline needs a {said}, and {file} is a {found.kind.replace('_', ' ')}"
        raise WeightsError(Problem(code="E506", message=message, hint=f"name a folder or file of a {said}"))
    details = found.tree.get("details")
    if not isinstance(details, Mapping) or found.kind != wanted:
        return
    for key in _SIZES:
        own, other = config.get(key), details.get(key)
        if isinstance(own, int) and isinstance(other, int) and own != other:
            message = f"{name}: {file} has {key} {other}, and the base's has {own}"
            raise WeightsError(Problem(code="E507", message=message, hint=_SAME_MODEL))


def index_classes(base: ResolvedBase) -> Mapping[str, str]:
    """Class names by component, from the base's own index."""
    source: AnySource | None = base.source
    if base.weight_name is not None:
        source = base.config
    found = {}
    for name, value in _json(source, INDEX).items():
        if isinstance(value, list) and len(value) == 2 and isinstance(value[1], str):  # noqa: PLR2004
            found[name] = value[1]
    return found


def is_distilled(base: ResolvedBase) -> bool:
    """Whether the denoiser takes guidance as an input; False if its configuration is not on this machine."""
    family = PIPELINE_FAMILIES.get(base.pipeline)
    if family is None:
        return False
    return _configuration(base, family.denoiser).get("time_cond_proj_dim") is not None


def base_parts(base: ResolvedBase) -> dict[str, ComponentConfig]:
    """Every component with a configuration on this machine; replaced ones instead of the base's own."""
    parts: dict[str, ComponentConfig] = {}
    for name, class_name in index_classes(base).items():
        if name not in base.components:
            _add(parts, name, class_name, _configuration(base, name))
    for name, component in base.components.items():
        if component is not None:
            _add(parts, name, "", _configuration(base, name))
    return parts


def _configuration(base: ResolvedBase, name: str) -> Mapping[str, Any]:
    """The configuration of the component `name`; empty if it is not on this machine."""
    source, prefix = base.part_folder(name)
    return _json(source, f"{prefix}{_CONFIG}")


def _add(parts: dict[str, ComponentConfig], name: str, class_name: str, config: Mapping[str, Any]) -> None:
    if not config:
        return
    stated, architectures = config.get("_class_name"), config.get("architectures")
    if isinstance(stated, str):
        class_name = stated
    elif isinstance(architectures, list) and architectures:
        class_name = str(architectures[0])
    parts[name] = ComponentConfig(class_name, config)


def _json(source: object, name: str) -> Mapping[str, Any]:
    """The object in a JSON file of a source; empty if it is missing or cannot be read."""
    if not isinstance(source, Source) or not any(file.name == name for file in source.files):
        return {}
    try:
        tree = json.loads(source.path(name).read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(tree, dict):
        return {}
    return tree


def weights_of(base: ResolvedBase) -> Iterator[tuple[str, Source, str]]:
    """Component, source and name of every safetensors file that the base loads; a single file has no component."""
    if isinstance(base.source, Source):
        if base.weight_name is not None:
            yield "", base.source, base.weight_name
        else:
            for file in base.source.files:
                if file.name.endswith(".safetensors"):
                    yield file.name.partition("/")[0], base.source, file.name
    for name, component in base.components.items():
        if component is not None and isinstance(component.source, Source):
            for file in component.source.files:
                if file.name.endswith(".safetensors"):
                    yield name, component.source, file.name
