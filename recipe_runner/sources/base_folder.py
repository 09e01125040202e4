"""Choose exactly the files that a base in diffusers' folder layout needs, and refuse what would run foreign code."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from recipe_runner.pipelines.library_classes import Kind, class_kind
from recipe_runner.pipelines.table import pipelines
from recipe_runner.sources.address import listing, missing, nearest_names, refused
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


@dataclass(frozen=True, slots=True)
class PipelineIndex:
    """A checked model_index.json: the pipeline class and, of every component that is not null, library and class."""

    pipeline: str
    components: Mapping[str, tuple[str, str]]


def read_index(root: Folder, shown: str) -> PipelineIndex:
    """The checked model_index.json of the folder `root`.

    Raises:
        SourceMissing: E416 when the folder has none.
        ResolutionError: E407 when it is broken, E408 when it asks for classes that are not diffusers' or transformers'.
    """
    if not (root / INDEX).is_file():
        raise missing("E416", f"{shown}: no {INDEX} there, so it is not a pipeline folder", _no_index(root, shown))
    tree = read_json(root / INDEX, f"{shown}/{INDEX}")
    pipeline = tree.get("_class_name")
    if isinstance(pipeline, list):
        raise refused("E408", f"{shown}/{INDEX} asks for a pipeline class from its own code ({pipeline})")
    if not isinstance(pipeline, str) or not _IDENTIFIER.fullmatch(pipeline):
        raise refused("E407", f"{shown}/{INDEX} names no pipeline class (_class_name is {pipeline!r:.60})")
    components = {
        name: entry
        for name, value in tree.items()
        if (entry := _component(name, value, f"{shown}/{INDEX}")) is not None
    }
    return PipelineIndex(pipeline, components)


def _no_index(root: Folder, shown: str) -> str:
    """What to do about a folder without a model_index.json."""
    names = listing(root)
    if pipelines := [name for name in names if name.endswith("/") and (root / name / INDEX).is_file()]:
        return f"there is one in {' and '.join(f'{shown}/{name}'.rstrip('/') for name in pipelines[:_MOST_SHOWN])}"
    there = nearest_names(INDEX, names)
    if "config.json" in names:
        return (
            f"it is the folder of one component: name the folder above it, or write it under `base.components`; {there}"
        )
    if any(name.endswith(".safetensors") for name in names):
        return f"if it is a single-file checkpoint, name it with `weight_name`; {there}"
    return there


def kinds_of(index: PipelineIndex) -> dict[str, Kind | None]:
    """What the component in each folder of a pipeline is; None of one that nothing is known of."""
    return {name: class_kind(*entry) for name, entry in index.components.items()}


def refuse_code(folder: Folder, shown: str) -> None:
    """E408 when `folder` brings Python files: diffusers would want to run them."""
    code = [name for name in listed(folder) if name.endswith(".py")]
    if code:
        hint = "only classes of diffusers and transformers are run"
        raise refused("E408", f"{shown} brings its own code ({', '.join(code[:3])})", hint)


def _component(name: str, value: Any, shown: str) -> tuple[str, str] | None:
    # Everything that is not a pair is a setting of the pipeline (force_zeros_for_empty_prompt: true).
    if name.startswith("_") or not isinstance(value, list):
        return None
    if value in ([None, None], []):
        return None
    if len(value) != 2 or not all(isinstance(part, str) for part in value):  # noqa: PLR2004
        raise refused("E407", f"{shown}: component {name} is not [library, class]: {value!r:.80}")
    library, class_name = value
    if not _IDENTIFIER.fullmatch(name) or not _IDENTIFIER.fullmatch(class_name):
        raise refused("E407", f"{shown}: component {name!r:.60} names no class: {value!r:.80}")
    if library not in ("diffusers", "transformers") and library not in PIPELINE_MODULES:
        hint = "only classes of diffusers and transformers are run"
        raise refused("E408", f"{shown}: component {name} wants {class_name} from {library!r:.60}", hint)
    return library, class_name


def base_files(
    root: Folder,
    index: PipelineIndex,
    wanted: Address,
    *,
    left_out: Collection[str],
    described: Collection[str] = (),
    allow_pickle: bool,
) -> list[str]:
    """Names, relative to `root`, of all files the base needs; components in `left_out` are replaced or null.

    Those in `described` are replaced by a single file, which is read by the base's own configuration of the part.

    Raises:
        SourceMissing: E416 a component's folder, configuration or weights are not there.
        ResolutionError: E409 some components lack the variant, with their names; E408 code in a component's folder;
            E444 more in one than can be loaded; E445 a class that is not concrete.
        WeightsError: E406 only pickles, which are not allowed.
    """
    shown, variant = wanted.model, wanted.variant
    refuse_code(root, shown)
    names = [INDEX]
    lacking: dict[str, Kind] = {}
    wanted_parts = {name: entry for name, entry in index.components.items() if name not in left_out}
    if absent := [component for component in wanted_parts if not (root / component).is_dir()]:
        raise _absent(index, shown, absent)
    for component in described:
        if component in index.components and (root / component).is_dir():
            names += [f"{component}/{name}" for name in config_files(root / component)]
    for component, entry in wanted_parts.items():
        folder, place = root / component, f"{shown}/{component}"
        refuse_code(folder, place)
        kind = component_kind(f"{shown}/{INDEX}", component, entry, folder)
        if kind == "tokenizer":
            require_vocabulary(folder, place)
        files, whole = part_files(folder, place, kind, variant, allow_pickle=allow_pickle)
        names += [f"{component}/{name}" for name in files]
        if not whole:
            lacking[component] = kind
    if lacking:
        _raise_lacking(root, shown, variant, lacking)
    return names


def _absent(index: PipelineIndex, shown: str, absent: Sequence[str]) -> SourceMissing:
    """The error for components that the index names and that have no folder."""
    several = len(absent) > 1
    message = f"{shown}: {INDEX} names the component{'s' * several} {' and '.join(absent)}, and there "
    message += "are no such folders" if several else "is no such folder"
    known = pipelines().get(index.pipeline, {}).get("components", {})
    if all(known.get(component, {}).get("optional") for component in absent):
        nulls = ", ".join(f"{component}: null" for component in absent)
        return missing("E416", message, f"download the whole folder, or leave out: `base.components: {{{nulls}}}`")
    settable = " and ".join(f"`base.components.{component}`" for component in absent if component != "scheduler")
    return missing("E416", message, "download the whole folder" + (f", or set {settable}" if settable else ""))


def _raise_lacking(root: Folder, shown: str, variant: str | None, lacking: Mapping[str, Kind]) -> None:
    messages = [no_weights_message(root / component, component, kind, variant) for component, kind in lacking.items()]
    said = "; ".join(message for message, _ in messages)
    hint = next((hint for _, hint in messages if hint), "")
    if variant:
        hint = f"choose a variant that every component has, or replace {' and '.join(lacking)} in `base.components`"
        raise refused("E409", f"{shown}: not every component has {variant_name(variant)}: {said}", hint)
    variants = [available_variants(root / component, kind) for component, kind in lacking.items()]
    common = [name for name in variants[0] if all(name in others for others in variants)]
    raise missing("E416", f"{shown}: {said}", hint or f"set `base.variant{f': {common[0]}' if common else ''}`")
