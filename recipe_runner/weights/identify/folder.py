"""Folders: a base pipeline by its model_index.json, a component by its config.json and weights, a PEFT adapter."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from recipe_runner.canonical import Json
from recipe_runner.pipelines.component_classes import family_of_class, kind_of_class
from recipe_runner.problems.problem import WeightsError
from recipe_runner.weights.files.contents import Contents, read_contents
from recipe_runner.weights.files.formats import WEIGHTS_SUFFIXES
from recipe_runner.weights.identify.identity import Identity, Reason, identify_contents, identify_file

_MAX_JSON_BYTES = 16_000_000
_DENOISERS = ("unet", "transformer", "prior", "decoder")
_PLAIN = {
    "scheduler_config.json": "scheduler", "tokenizer_config.json": "tokenizer",
    "preprocessor_config.json": "image_processor",
}  # fmt: skip


def identify(path: Path) -> tuple[Identity, ...]:
    """What is at `path`: a file; a pipeline, component or adapter folder; else each weights file of a folder."""
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
        return (_broken(path, "a folder without a model_index.json, a config.json or a weights file"),)
    return tuple(identify_file(file) for file in files)


def _indexed(path: Path) -> Identity:
    """The shards that an index lists, as one."""
    tree = _json(path)
    named = tree.get("weight_map") if isinstance(tree, Mapping) else None
    if not isinstance(named, Mapping) or not all(isinstance(shard, str) for shard in named.values()):
        return _broken(path, tree if isinstance(tree, str) else f"{path.name} has no weight_map of tensors to files")
    shards = sorted({str(shard) for shard in named.values()})
    # By the folder's own names: a stranger's may be none that can be asked for.
    there = {entry.name for entry in path.parent.iterdir() if entry.is_file()}
    absent = [shard for shard in shards if shard not in there]
    if absent:
        return _broken(path, f"it names {len(absent)} of {len(shards)} shards that are not there: {absent[0][:200]}")
    try:
        contents = _joined([read_contents(path.parent / shard) for shard in shards])
    except WeightsError as error:
        return _broken(path, error.problems[0].message)
    return identify_contents(str(path), contents, _config_beside(path))


def _broken(path: Path, reason: str) -> Identity:
    return Identity(path=str(path), kind="unknown", broken=reason, reasons=(Reason("unknown", "broken", reason),))


def _config_beside(path: Path) -> Mapping[str, Any]:
    """The config.json beside a component's weights, when the file has the name that diffusers gives such."""
    usual = path.name.startswith(("diffusion_pytorch_model", "model", "pytorch_model"))
    tree = _json(path.parent / "config.json") if usual else None
    return tree if isinstance(tree, Mapping) else {}


def _json(path: Path) -> Mapping[str, Any] | str | None:
    """The JSON object in a file; None when there is no file, and a reason when it is not readable."""
    try:
        if path.stat().st_size > _MAX_JSON_BYTES:
            return f"{path.name} is too large for a configuration"
        tree = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        return f"{path.name} is no readable JSON ({error})"
    return tree if isinstance(tree, dict) else f"{path.name} is no JSON object"


def _component(path: Path) -> Identity | None:
    """A component's folder by its configuration and all its shards; None when it has no configuration."""
    for name, kind in _PLAIN.items():
        if (path / name).is_file() and not (path / "config.json").is_file():
            tree = _json(path / name)
            said = tree if isinstance(tree, Mapping) else {}
            reason = f"it has a {name}"
            class_name = _class_of(said, ("_class_name", "tokenizer_class", "image_processor_type"))
            details: dict[str, Json] = {"class": class_name}
            return Identity(
                path=str(path), kind=kind, reasons=(Reason(kind, "match", reason),), tree={"details": details}
            )
    config = _json(path / "config.json")
    adapter = config is None and (path / "adapter_config.json").is_file()
    if config is None and not adapter:
        return None
    if isinstance(config, str):
        return _broken(path, config)
    try:
        contents = _shards(path)
    except WeightsError as error:
        return _broken(path, error.problems[0].message)
    if contents is None:
        reason = "it has a configuration and no weights"
        kind = kind_of_class(_class_of(config or {}, ("_class_name", "architectures"))) or "unknown"
        return Identity(path=str(path), kind=kind, reasons=(Reason(kind, "match", reason),))
    return _with_class(identify_contents(str(path), contents, config or {}), config or {})


def _class_of(tree: Mapping[str, Any], keys: tuple[str, ...]) -> str | None:
    for key in keys:
        value = tree.get(key)
        if isinstance(value, list) and value:
            value = value[0]
        if isinstance(value, str):
            return value
    return None


def _with_class(found: Identity, config: Mapping[str, Any]) -> Identity:
    """The identity with the class that the configuration names: it decides what shapes alone leave open."""
    name = _class_of(config, ("_class_name", "architectures"))
    if name is None:
        return found
    details = found.tree.get("details")
    details = {**(details if isinstance(details, Mapping) else {}), "class": name}
    kind, family, reasons = found.kind, found.family or family_of_class(name), found.reasons
    said = kind_of_class(name)
    if kind == "unknown" and not found.broken and said is not None:
        kind, reasons = said, (Reason(said, "match", f"its config.json says {name}"), *reasons)
    return replace(found, kind=kind, family=family, reasons=reasons, tree={**found.tree, "details": details})


def _shards(path: Path) -> Contents | None:
    """The tensors of a component's weights files together; of several variants the plain one, or the first."""
    names = sorted(entry.name for entry in path.iterdir() if entry.is_file())
    for suffix in (".safetensors", ".bin"):
        chosen = [name for name in names if name.endswith(suffix)]
        sharded = [name for name in chosen if "-of-0" in name]
        plain = [name for name in chosen if name.count(".") == 1 and name not in sharded]
        picked = plain[:1] or [name for name in sharded if _stem(name) == _stem(sharded[0])] or chosen[:1]
        if picked:
            return _joined([read_contents(path / name) for name in picked])
    return None


def _stem(name: str) -> str:
    return name.partition("-0")[0]


def _joined(parts: list[Contents]) -> Contents:
    if len(parts) == 1:
        return parts[0]
    return Contents(
        format=parts[0].format,
        shapes={name: shape for part in parts for name, shape in part.shapes.items()},
        dtypes={name: dtype for part in parts for name, dtype in part.dtypes.items()},
        metadata=parts[0].metadata,
        size=sum(part.size for part in parts),
        foreign=tuple(dict.fromkeys(name for part in parts for name in part.foreign)),
    )


def _pipeline(path: Path) -> Identity:
    index = _json(path / "model_index.json")
    if not isinstance(index, Mapping):
        return _broken(path, str(index))
    components: dict[str, Json] = {}
    problems: list[str] = []
    family, tensors, parameters = None, 0, 0
    dtypes: dict[str, int] = {}
    folders = {entry.name for entry in path.iterdir() if entry.is_dir()}
    for name, value in index.items():
        if name.startswith("_") or not isinstance(value, list) or len(value) != 2 or value[1] is None:  # noqa: PLR2004
            continue
        there = name in folders
        part = _component(path / name) if there else None
        if part is None:
            problems.append(f"{name} has no configuration" if there else f"it has no folder {name}")
            continue
        if part.broken:
            problems.append(f"{name}: {part.broken}")
        tensors += part.tensor_count
        for dtype, count in _counts(part.tree.get("dtypes")):
            dtypes[dtype] = dtypes.get(dtype, 0) + count
        own = part.tree.get("parameters", 0)
        parameters += own if isinstance(own, int) else 0
        components[name] = {"class": value[1], "kind": part.kind, "tensor_count": part.tensor_count}
        if name in _DENOISERS:
            family = family or part.family
    said = index.get("_class_name")
    said = said if isinstance(said, str) else None
    reason = Reason("pipeline", "match", f"its model_index.json says {said}")
    return Identity(
        path=str(path),
        kind="pipeline",
        layout="diffusers",
        family=family or family_of_class(said),
        tensor_count=tensors,
        broken="; ".join(problems),
        reasons=(reason, *(Reason("pipeline", "broken", problem) for problem in problems)),
        tree={
            "format": "folder", "variety": None, "parameters": parameters, "dtypes": dict[str, Json](dtypes),
            "details": {"class": said, "components": components},
        },
    )  # fmt: skip


def _counts(value: Json) -> list[tuple[str, int]]:
    found = value.items() if isinstance(value, Mapping) else ()
    return [(name, count) for name, count in found if isinstance(count, int)]
