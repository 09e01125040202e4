"""Resolve a LoRA or LyCORIS adapter: find its file, match it to the base's modules, and check its scale."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from recipe_runner.canonical import Json
from recipe_runner.plan.adapters.base_modules import base_modules
from recipe_runner.plan.adapters.kind import ResolveContext
from recipe_runner.plan.adapters.weights_file import find_weights_file
from recipe_runner.plan.resolved import ResolvedLora
from recipe_runner.plan.resolved_base import AnySource
from recipe_runner.problems.place import Place
from recipe_runner.recipe.types.recipe import Lora, LoraScale
from recipe_runner.sources.find import find_beside
from recipe_runner.sources.missing import SourceMissing, Unresolved, unresolved
from recipe_runner.sources.source import Address, Source
from recipe_runner.weights.embedding import Vectors
from recipe_runner.weights.files.contents import read_weights
from recipe_runner.weights.identify.other_kind import suggest_other_kind
from recipe_runner.weights.lora import LoraLayout, read_layout, require_alpha, require_floats, require_whole
from recipe_runner.weights.lora.peft_config import CONFIG_NAME, WEIGHTS_STEM, with_config
from recipe_runner.weights.lora.scales import expand_scales
from recipe_runner.weights.modules import ModuleTable

USUAL = ("pytorch_lora_weights.safetensors", "adapter_model.safetensors")
"""The file names of diffusers and PEFT, which are preferred in a folder of several files."""


def resolve(name: str, entry: Mapping[str, Any], context: ResolveContext, origin: Place) -> ResolvedLora:
    """Find the file, and check from headers that every tensor has a module and every key of the scale is valid.

    Raises:
        RecipeRunnerError: E4xx the file is broken or refused; E6xx it does not fit the base, or the scale does not fit
            it.
    """
    lora = Lora.model_validate(entry)
    base = context.base
    modules = modules_of(context)
    place = ("lora", name, lora.model_dump_json(exclude={"scale"}), base.number)
    # Everything but the scale, which sweeps vary, is decided once.
    whole: ResolvedLora = context.once(place, lambda: _decide(name, lora, modules, context, origin))
    scale = scale_of(lora.scale)
    check_scale(name, scale, whole.layout, context)
    return whole.at(scale)


def vector_counts(embeddings: Mapping[str, Mapping[str, Vectors]]) -> dict[str, dict[str, int]]:
    """The number of vectors of each token for each text encoder."""
    found: dict[str, dict[str, int]] = {}
    for token, parts in embeddings.items():
        found[token] = {part: vectors.count for part, vectors in parts.items()}
    return found


def modules_of(context: ResolveContext) -> ModuleTable | None:
    """The base's modules, read once."""
    base = context.base
    found: ModuleTable | None = context.once(("modules", base.number), lambda: base_modules(base))
    return found


def check_scale(name: str, scale: Json, layout: LoraLayout | None, context: ResolveContext) -> None:
    """Check every key of a scale; a run expands it again, on the loaded modules.

    Raises:
        WeightsError: E611 to E613.
    """
    modules = modules_of(context)
    if isinstance(scale, Mapping) and layout is not None and modules is not None:
        expand_scales(scale, layout, modules, label=f"adapter {name}")


def _decide(name: str, lora: Lora, modules: ModuleTable | None, context: ResolveContext, origin: Place) -> ResolvedLora:
    """The adapter at scale 1."""
    source = find_weights_file(lora, context, USUAL)
    config = _peft_config(lora, source, context)
    layout = _lay_out(name, lora, source, config, modules)
    tensors: Mapping[str, int] | None = None
    tokens: Mapping[str, Mapping[str, int]] = {}
    if layout is not None:
        tensors, tokens = layout.tensor_counts(), vector_counts(layout.embeddings)
    return ResolvedLora(
        name=name,
        source=source,
        config=config,
        layout=layout,
        tensors=tensors,
        tokens=tokens,
        origin=origin,
        **{option: getattr(lora, option) for option in ResolvedLora.OPTIONS},
    )


def scale_of(scale: float | LoraScale) -> Json:
    """A scale as plain data."""
    if isinstance(scale, LoraScale):
        return scale.model_dump(exclude_none=True)
    return scale


def _peft_config(lora: Lora, source: AnySource, context: ResolveContext) -> AnySource | None:
    """PEFT's configuration beside its weights; None if PEFT did not save the file."""
    if not isinstance(source, Source) or PurePosixPath(source.files[0].name).stem != WEIGHTS_STEM:
        return None
    try:
        return find_beside(source, CONFIG_NAME, folder=context.folder)
    except SourceMissing as error:
        return unresolved(error, Address(lora.model, revision=lora.revision, weight_name=CONFIG_NAME))


def _lay_out(
    name: str, lora: Lora, source: AnySource, config: AnySource | None, modules: ModuleTable | None
) -> LoraLayout | None:
    """The modules of the file's tensors; None if the file or the base's modules are not known."""
    if modules is None or not isinstance(source, Source) or isinstance(config, Unresolved):
        return None
    contents = read_weights(source.path(source.files[0].name), f"adapter {name}")
    config_path = None
    if config is not None:
        config_path = config.path(config.files[0].name)
    metadata = with_config(contents.metadata, config_path)
    layout = read_layout(contents.weights, modules, target=lora.target, metadata=metadata)
    with suggest_other_kind(contents, "lora"):
        require_whole(layout, f"adapter {name}")
    require_alpha(layout, lora.alpha, f"adapter {name}")
    require_floats(layout, contents.not_floating(), f"adapter {name}")
    return layout
