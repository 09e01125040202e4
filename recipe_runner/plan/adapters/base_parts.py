"""The components of a resolved base: their classes and configurations, and how many numbers their weights hold."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from recipe_runner.pipelines.component_classes import kind_of_class
from recipe_runner.pipelines.component_fit import ComponentConfig, misfits
from recipe_runner.pipelines.family import PIPELINE_FAMILIES
from recipe_runner.plan.resolved import ResolvedBase, ResolvedComponent
from recipe_runner.problems.problem import Problem, WeightsError
from recipe_runner.sources.source import Source
from recipe_runner.weights.files.contents import read_weights

INDEX = "model_index.json"
_CONFIG = "config.json"
_SIZES = ("cross_attention_dim", "latent_channels", "hidden_size")
"""What a configuration and the tensors of a single file both tell."""


def check_components(base: ResolvedBase) -> None:
    """Refuse replaced components that are something else, and parts whose widths do not fit each other.

    Raises:
        WeightsError: E506 a component of another type, E507 components that do not fit each other.
    """
    if not base.components or not isinstance(base.source, Source):
        return
    classes, parts = index_classes(base), base_parts(base)
    for name, component in base.components.items():
        part, said = parts.get(name), classes.get(name)
        if said is not None and component is not None and component.weight_name is not None:
            _check_file(name, component, said, {} if part is None else part.config)
            continue
        if part is None or said is None:
            continue
        wanted, found = kind_of_class(said), kind_of_class(part.class_name)
        if wanted is not None and found is not None and wanted != found:
            message = f"{name}: the pipeline needs a {said}, and this is a {part.class_name}"
            hint = f"name a folder or file of a {said}"
            raise WeightsError(Problem(code="E506", message=message, hint=hint))
    for reason in misfits(parts):
        hint = "replace a component only by one that was made for the same model"
        raise WeightsError(Problem(code="E507", message=reason, hint=hint))


def _check_file(name: str, component: ResolvedComponent, said: str, config: Mapping[str, Any]) -> None:
    """Compare a component's single file with the class `said` and the base's own `config` of the part.

    Raises:
        WeightsError: E412 it holds no tensors, E506 it is something else by its tensors, E507 it was made for another
            model, E607 it holds other things than tensors.
    """
    if not isinstance(component.source, Source):
        return
    # Imported where a part is a single file: it looks at every kind that there is.
    from recipe_runner.weights.identify.identity import identify_file  # noqa: PLC0415

    file = component.source.files[0].name
    read_weights(component.source.path(file), f"{name}: {file}")
    found, wanted = identify_file(component.source.path(file)), kind_of_class(said)
    # What no kind claims may still fit; of a whole checkpoint its part is taken.
    if wanted is not None and found.kind not in (wanted, "checkpoint", "unknown"):
        message = f"{name}: the pipeline needs a {said}, and {file} is a {found.kind.replace('_', ' ')}"
        raise WeightsError(Problem(code="E506", message=message, hint=f"name a folder or file of a {said}"))
    told = found.tree.get("details")
    details = told if isinstance(told, Mapping) and found.kind == wanted else {}
    for key in _SIZES:
        own, other = config.get(key), details.get(key)
        if isinstance(own, int) and isinstance(other, int) and own != other:
            message = f"{name}: {file} has {key} {other}, and the base's has {own}"
            hint = "replace a component only by one that was made for the same model"
            raise WeightsError(Problem(code="E507", message=message, hint=hint))


def index_classes(base: ResolvedBase) -> Mapping[str, str]:
    """Class names by component, as the base's own index states them."""
    source = base.source if base.weight_name is None else base.config
    tree = _json(source, INDEX)
    return {
        name: value[1]
        for name, value in tree.items()
        if isinstance(value, list) and len(value) == 2 and isinstance(value[1], str)  # noqa: PLR2004
    }


def is_distilled(base: ResolvedBase) -> bool:
    """Whether the denoiser takes guidance as an input; not so where its configuration is not on this machine."""
    family = PIPELINE_FAMILIES.get(base.pipeline)
    if family is None:
        return False
    return _configuration(base, family.denoiser).get("time_cond_proj_dim") is not None


def base_parts(base: ResolvedBase) -> dict[str, ComponentConfig]:
    """Every component that has a configuration on this machine, replaced ones in the place of the base's own."""
    parts: dict[str, ComponentConfig] = {}
    for name, class_name in index_classes(base).items():
        if name not in base.components:
            _add(parts, name, class_name, _configuration(base, name))
    for name, component in base.components.items():
        if component is not None:
            _add(parts, name, "", _configuration(base, name))
    return parts


def _configuration(base: ResolvedBase, name: str) -> Mapping[str, Any]:
    """The configuration of the part `name`; empty where it is not on this machine."""
    source, prefix = base.part_folder(name)
    return _json(source, f"{prefix}{_CONFIG}")


def _add(parts: dict[str, ComponentConfig], name: str, class_name: str, config: Mapping[str, Any]) -> None:
    said = config.get("_class_name")
    architectures = config.get("architectures")
    if not isinstance(said, str) and isinstance(architectures, list) and architectures:
        said = str(architectures[0])
    if config:
        parts[name] = ComponentConfig(said if isinstance(said, str) else class_name, config)


def _json(source: object, name: str) -> Mapping[str, Any]:
    """The object in a JSON file of a source; empty where there is none, or none that can be read."""
    if not isinstance(source, Source) or not any(file.name == name for file in source.files):
        return {}
    try:
        tree = json.loads(source.path(name).read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return tree if isinstance(tree, dict) else {}


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
