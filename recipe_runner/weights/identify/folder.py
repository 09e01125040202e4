"""Identify folders: a pipeline by its model_index.json, a component or a PEFT adapter by its configuration."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from recipe_runner.canonical import Json
from recipe_runner.pipelines.component_classes import family_of_class, kind_of_class
from recipe_runner.problems.problem import WeightsError
from recipe_runner.weights.files.contents import Contents, read_contents
from recipe_runner.weights.files.formats import WEIGHTS_SUFFIXES
from recipe_runner.weights.identify.identity import Identity, Reason, identify_contents, identify_file
from recipe_runner.weights.modules import Shape

_MAX_JSON_BYTES = 16_000_000
_DENOISERS = ("unet", "transformer", "prior", "decoder")
_CLASS_KEYS = ("_class_name", "architectures")
_PLAIN = {
    "scheduler_config.json": "scheduler", "tokenizer_config.json": "tokenizer",
    "preprocessor_config.json": "image_processor",
}  # fmt: skip


def identify(path: Path) -> tuple[Identity, ...]:
    """Identify a file, a folder of a pipeline, component or adapter, or each weights file of another folder."""
    if path.name.endswith(".index.json"):
        return (_indexed(path),)
    if not path.is_dir():
        return (identify_file(path, _config_beside(path)),)
    if (path / "model_index.json").is_file():
        return (_pipeline(path),)
    component = _component(path)
    if component is not None:
        return (component,)
    files = sorted(entry for entry in path.iterdir() if entry.suffix.lower() in (*WEIGHTS_SUFFIXES, ".gguf"))
    if not files:
        return (_broken(path, "the folder has no model_index.json, config.json or weights file"),)
    return tuple(identify_file(file) for file in files)


def _indexed(path: Path) -> Identity:
    """Identify the shards that an index lists, together."""
    tree = _json(path)
    if isinstance(tree, str):
        return _broken(path, tree)
    shards = _shard_names(tree)
    if not shards:
        return _broken(path, f"{path.name} has no weight_map of tensors to files")
    # By the folder's own names: a stranger's may be none that can be asked for.
    there = {entry.name for entry in path.parent.iterdir() if entry.is_file()}
    absent = [shard for shard in shards if shard not in there]
    if absent:
        return _broken(path, f"{len(absent)} of the {len(shards)} shards that it lists are missing: {absent[0][:200]}")
    try:
        contents = _joined([read_contents(path.parent / shard) for shard in shards])
    except WeightsError as error:
        return _broken(path, error.problems[0].message)
    return identify_contents(str(path), contents, _config_beside(path))


def _shard_names(index: Mapping[str, Any] | None) -> list[str]:
    """The files that an index lists; empty when it lists none."""
    named = (index or {}).get("weight_map")
    if not isinstance(named, Mapping) or not all(isinstance(shard, str) for shard in named.values()):
        return []
    return sorted(set(named.values()))


def _broken(path: Path, reason: str) -> Identity:
    return Identity(path=str(path), kind="unknown", broken=reason, reasons=(Reason("unknown", "broken", reason),))


def _config_beside(path: Path) -> Mapping[str, Any]:
    """The config.json beside a file with a name that diffusers or transformers gives weights."""
    if not path.name.startswith(("diffusion_pytorch_model", "model", "pytorch_model")):
        return {}
    return _object(path.parent / "config.json")


def _object(path: Path) -> Mapping[str, Any]:
    """The JSON object in a file; empty when it is missing or cannot be read."""
    tree = _json(path)
    return tree if isinstance(tree, Mapping) else {}


def _json(path: Path) -> Mapping[str, Any] | str | None:
    """The JSON object in a file; None when the file is missing; the reason when it cannot be read."""
    try:
        if path.stat().st_size > _MAX_JSON_BYTES:
            return f"{path.name} is too large for a configuration"
        tree = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        return f"{path.name} is not readable JSON ({error})"
    if not isinstance(tree, dict):
        return f"{path.name} is not a JSON object"
    return tree


def _component(path: Path) -> Identity | None:
    """Identify the folder of a component by its configuration and all its shards; None without a configuration."""
    config = _json(path / "config.json")
    if isinstance(config, str):
        return _broken(path, config)
    if config is None:
        plain = _without_weights(path)
        if plain is not None:
            return plain
        if not (path / "adapter_config.json").is_file():
            return None
        config = {}
    try:
        contents = _shards(path)
    except WeightsError as error:
        return _broken(path, error.problems[0].message)
    class_name = _class_of(config, _CLASS_KEYS)
    if contents is None:
        kind = kind_of_class(class_name) or "unknown"
        reason = Reason(kind, "match", "it has a configuration but no weights")
        return Identity(path=str(path), kind=kind, reasons=(reason,))
    return _with_class(identify_contents(str(path), contents, config), class_name)


def _without_weights(path: Path) -> Identity | None:
    """Identify the folder of a component that never has weights, such as a scheduler; None for another folder."""
    for name, kind in _PLAIN.items():
        if (path / name).is_file():
            class_name = _class_of(_object(path / name), ("_class_name", "tokenizer_class", "image_processor_type"))
            return Identity(
                path=str(path),
                kind=kind,
                reasons=(Reason(kind, "match", f"it has a {name}"),),
                tree={"details": {"class": class_name}},
            )
    return None


def _class_of(tree: Mapping[str, Any], keys: tuple[str, ...]) -> str | None:
    """The class that a configuration states under one of the keys; of a list of classes the first."""
    for key in keys:
        value = tree.get(key)
        if isinstance(value, list) and value:
            value = value[0]
        if isinstance(value, str):
            return value
    return None


def _with_class(found: Identity, class_name: str | None) -> Identity:
    """Add the class that the configuration states. It decides what the shapes leave open."""
    if class_name is None:
        return found
    details: dict[str, Json] = {}
    known = found.tree.get("details")
    if isinstance(known, Mapping):
        details |= known
    details["class"] = class_name
    kind, reasons = found.kind, found.reasons
    stated = kind_of_class(class_name)
    if kind == "unknown" and not found.broken and stated is not None:
        kind = stated
        reasons = (Reason(kind, "match", f"its config.json states {class_name}"), *reasons)
    return replace(
        found,
        kind=kind,
        family=found.family or family_of_class(class_name),
        reasons=reasons,
        tree={**found.tree, "details": details},
    )


def _shards(path: Path) -> Contents | None:
    """The tensors of a component's weights files together; None without weights."""
    names = sorted(entry.name for entry in path.iterdir() if entry.is_file())
    for suffix in (".safetensors", ".bin"):
        chosen = _one_variant([name for name in names if name.endswith(suffix)])
        if chosen:
            return _joined([read_contents(path / name) for name in chosen])
    return None


def _one_variant(names: list[str]) -> list[str]:
    """The files of one variant: the file without a variant, else the first set of shards, else the first file."""
    sharded = [name for name in names if "-of-0" in name]
    for name in names:
        if name.count(".") == 1 and name not in sharded:
            return [name]
    if sharded:
        stem = sharded[0].partition("-0")[0]
        return [name for name in sharded if name.partition("-0")[0] == stem]
    return names[:1]


def _joined(parts: list[Contents]) -> Contents:
    """The tensors of several shards as one."""
    if len(parts) == 1:
        return parts[0]
    shapes: dict[str, Shape] = {}
    dtypes: dict[str, str] = {}
    foreign: dict[str, None] = {}
    for part in parts:
        shapes |= part.shapes
        dtypes |= part.dtypes
        foreign |= dict.fromkeys(part.foreign)
    return Contents(
        format=parts[0].format,
        shapes=shapes,
        dtypes=dtypes,
        metadata=parts[0].metadata,
        size=sum(part.size for part in parts),
        foreign=tuple(foreign),
    )


def _pipeline(path: Path) -> Identity:
    """Identify the folder of a pipeline, with every component that its model_index.json lists."""
    index = _json(path / "model_index.json")
    if not isinstance(index, Mapping):
        return _broken(path, str(index))
    family: str | None = None
    parts: list[Identity] = []
    components: dict[str, Json] = {}
    problems: list[str] = []
    folders = {entry.name for entry in path.iterdir() if entry.is_dir()}
    for name, class_name in _listed_components(index):
        if name not in folders:
            problems.append(f"folder {name} is missing")
            continue
        part = _component(path / name)
        if part is None:
            problems.append(f"{name} has no configuration")
            continue
        if part.broken:
            problems.append(f"{name}: {part.broken}")
        if name in _DENOISERS:
            family = family or part.family
        parts.append(part)
        components[name] = {"class": class_name, "kind": part.kind, "tensor_count": part.tensor_count}
    class_name = index.get("_class_name")
    if not isinstance(class_name, str):
        class_name = None
    reasons = [Reason("pipeline", "match", f"its model_index.json states {class_name}")]
    reasons += [Reason("pipeline", "broken", problem) for problem in problems]
    return Identity(
        path=str(path),
        kind="pipeline",
        layout="diffusers",
        family=family or family_of_class(class_name),
        tensor_count=sum(part.tensor_count for part in parts),
        broken="; ".join(problems),
        reasons=tuple(reasons),
        tree={
            "format": "folder",
            "variety": None,
            **_totals(parts),
            "details": {"class": class_name, "components": components},
        },
    )


def _listed_components(index: Mapping[str, Any]) -> Iterator[tuple[str, Json]]:
    """Name and class of every component that a model_index.json lists and that is not null."""
    for name, value in index.items():
        is_pair = isinstance(value, list) and len(value) == 2  # noqa: PLR2004
        if is_pair and not name.startswith("_") and value[1] is not None:
            yield name, value[1]


def _totals(parts: Sequence[Identity]) -> dict[str, Json]:
    """Parameters and dtypes of all components together."""
    parameters = 0
    dtypes: dict[str, int] = {}
    for part in parts:
        own = part.tree.get("parameters")
        if isinstance(own, int):
            parameters += own
        counts = part.tree.get("dtypes")
        for dtype, count in counts.items() if isinstance(counts, Mapping) else ():
            if isinstance(count, int):
                dtypes[dtype] = dtypes.get(dtype, 0) + count
    return {"parameters": parameters, "dtypes": dict[str, Json](dtypes)}
