"""Choose exactly the files that a base in diffusers' folder layout needs, and refuse a model's own code."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from recipe_runner.pipelines.library_classes import Kind, class_kind
from recipe_runner.pipelines.table import pipelines
from recipe_runner.sources.address import folders_with, listing, missing, nearest_names, refused
from recipe_runner.sources.component_class import component_kind
from recipe_runner.sources.component_files import (
    available_variants,
    config_files,
    listed,
    no_weights_message,
    part_files,
    read_json,
    require_vocabulary,
    variant_name,
)
from recipe_runner.sources.folder import Folder
from recipe_runner.sources.missing import SourceMissing
from recipe_runner.sources.source import Address

INDEX = "model_index.json"
_MOST_SHOWN = 3
_IDENTIFIER = re.compile(r"[A-Za-z_]\w{0,99}", re.ASCII)
PIPELINE_MODULES = frozenset({
    "audioldm2", "bria", "chroma", "cogview3", "deepfloyd_if", "flux", "hunyuandit", "ip_adapter", "kandinsky",
    "kolors", "latent_diffusion", "ltx", "ltx2", "musicldm", "paint_by_example", "pixart_alpha", "sana", "shap_e",
    "stable_audio", "stable_cascade", "stable_diffusion", "stable_diffusion_3", "stable_diffusion_safe",
    "stable_diffusion_xl", "unidiffuser", "wuerstchen",
})  # fmt: skip
"""Modules of diffusers.pipelines that a model_index.json may name beside the two libraries."""
_ONLY_LIBRARIES = "only classes of diffusers and transformers are run"


@dataclass(frozen=True, slots=True)
class PipelineIndex:
    """A checked model_index.json: the pipeline class, and library and class of every component that is not null."""

    pipeline: str
    components: Mapping[str, tuple[str, str]]


def read_index(root: Folder, shown: str) -> PipelineIndex:
    """The checked model_index.json of the folder `root`.

    Raises:
        SourceMissing: E416 the folder has none.
        ResolutionError: E407 it is broken, E408 it asks for classes that are not from diffusers or transformers.
    """
    if not (root / INDEX).is_file():
        raise missing("E416", f"{shown}: {INDEX} is missing, so this is not a pipeline folder", _no_index(root, shown))
    tree = read_json(root / INDEX, f"{shown}/{INDEX}")
    pipeline = tree.get("_class_name")
    if isinstance(pipeline, list):
        raise refused("E408", f"{shown}/{INDEX} asks for a pipeline class from its own code ({pipeline})")
    if not isinstance(pipeline, str) or not _IDENTIFIER.fullmatch(pipeline):
        raise refused("E407", f"{shown}/{INDEX} names no pipeline class (_class_name is {pipeline!r:.60})")
    components: dict[str, tuple[str, str]] = {}
    for name, value in tree.items():
        entry = _component(name, value, f"{shown}/{INDEX}")
        if entry is not None:
            components[name] = entry
    return PipelineIndex(pipeline, components)


def _no_index(root: Folder, shown: str) -> str:
    """What to do about a folder without a model_index.json."""
    names = listing(root)
    folders = [f"{shown}/{name}" for name in folders_with(root, INDEX)]
    if folders:
        return f"there is one in {' and '.join(folders[:_MOST_SHOWN])}"
    there = nearest_names(INDEX, names)
    if "config.json" in names:
        return (
            f"it is the folder of one component: name the folder above it, or write it under `base.components`; {there}"
        )
    if any(name.endswith(".safetensors") for name in names):
        return f"if it is a single-file checkpoint, name it with `weight_name`; {there}"
    return there


def kinds_of(index: PipelineIndex) -> dict[str, Kind | None]:
    """The kind of the component in each folder of a pipeline; None if its class is not known."""
    return {name: class_kind(*entry) for name, entry in index.components.items()}


def refuse_code(folder: Folder, shown: str) -> None:
    """Raise E408 when `folder` has Python files: diffusers would run them."""
    code = [name for name in listed(folder) if name.endswith(".py")]
    if code:
        raise refused("E408", f"{shown} has its own code ({', '.join(code[:3])})", _ONLY_LIBRARIES)


def _component(name: str, value: Any, shown: str) -> tuple[str, str] | None:
    """Library and class of a component; None for a null component, and for a setting of the pipeline."""
    # Everything that is not a pair is a setting of the pipeline (force_zeros_for_empty_prompt: true).
    if name.startswith("_") or not isinstance(value, list) or value in ([None, None], []):
        return None
    match value:
        case [str(library), str(class_name)]:
            pass
        case _:
            raise refused("E407", f"{shown}: component {name} is not [library, class]: {value!r:.80}")
    if not _IDENTIFIER.fullmatch(name) or not _IDENTIFIER.fullmatch(class_name):
        raise refused("E407", f"{shown}: component {name!r:.60} names no class: {value!r:.80}")
    if library not in ("diffusers", "transformers") and library not in PIPELINE_MODULES:
        message = f"{shown}: component {name} wants {class_name} from {library!r:.60}"
        raise refused("E408", message, _ONLY_LIBRARIES)
    return library, class_name


def base_files(
    root: Folder,
    index: PipelineIndex,
    address: Address,
    *,
    left_out: Collection[str],
    described: Collection[str] = (),
    allow_pickle: bool,
) -> list[str]:
    """Names, relative to `root`, of all files that the base needs; components in `left_out` are replaced or null.

    Those in `described` are replaced by a single file, which is read with the base's own configuration of the part.

    Raises:
        SourceMissing: E416 a component's folder, configuration or weights are missing.
        ResolutionError: E409 some components lack the variant, with their names; E408 code in a component's folder;
            E444 a component's folder has more than can be loaded; E445 a class that is not concrete.
        WeightsError: E406 there are only pickles, which are not allowed.
    """
    shown, variant = address.model, address.variant
    refuse_code(root, shown)
    needed = {name: entry for name, entry in index.components.items() if name not in left_out}
    absent = [component for component in needed if not (root / component).is_dir()]
    if absent:
        raise _absent(index, shown, absent)
    names = [INDEX]
    for component in described:
        if component in index.components and (root / component).is_dir():
            names += _below(component, config_files(root / component))
    lacking: dict[str, Kind] = {}
    for component, entry in needed.items():
        folder, place = root / component, f"{shown}/{component}"
        refuse_code(folder, place)
        kind = component_kind(f"{shown}/{INDEX}", component, entry, folder)
        if kind == "tokenizer":
            require_vocabulary(folder, place)
        files, whole = part_files(folder, place, kind, variant, allow_pickle=allow_pickle)
        names += _below(component, files)
        if not whole:
            lacking[component] = kind
    if lacking:
        raise _lacking(root, shown, variant, lacking)
    return names


def _below(folder: str, names: Sequence[str]) -> list[str]:
    """The names of files in a folder, as paths in the source."""
    return [f"{folder}/{name}" for name in names]


def _absent(index: PipelineIndex, shown: str, absent: Sequence[str]) -> SourceMissing:
    """E416 for components that the index names and whose folders are missing."""
    message = f"{shown}: {INDEX} names the component {absent[0]}, and there is no such folder"
    if len(absent) > 1:
        message = f"{shown}: {INDEX} names the components {' and '.join(absent)}, and there are no such folders"
    hint = "download the whole folder"
    known = pipelines().get(index.pipeline, {}).get("components", {})
    if all(known.get(component, {}).get("optional") for component in absent):
        nulls = ", ".join(f"{component}: null" for component in absent)
        return missing("E416", message, f"{hint}, or leave out: `base.components: {{{nulls}}}`")
    settable = [f"`base.components.{component}`" for component in absent if component != "scheduler"]
    if settable:
        hint += f", or set {' and '.join(settable)}"
    return missing("E416", message, hint)


def _lacking(root: Folder, shown: str, variant: str | None, lacking: Mapping[str, Kind]) -> Exception:
    """E409 or E416 for components without the weights that the recipe asks for."""
    messages, hint = [], ""
    for component, kind in lacking.items():
        message, advice = no_weights_message(root / component, component, kind, variant)
        messages.append(message)
        hint = hint or advice
    said = "; ".join(messages)
    if variant:
        hint = f"choose a variant that every component has, or replace {' and '.join(lacking)} in `base.components`"
        return refused("E409", f"{shown}: not every component has {variant_name(variant)}: {said}", hint)
    return missing("E416", f"{shown}: {said}", hint or _variant_hint(root, lacking))


def _variant_hint(root: Folder, lacking: Mapping[str, Kind]) -> str:
    """The advice to set a variant: the first that all of these components have."""
    variants = [available_variants(root / component, kind) for component, kind in lacking.items()]
    for variant in variants[0]:
        if variant and all(variant in others for others in variants):
            return f"set `base.variant: {variant}`"
    return "set `base.variant`"
