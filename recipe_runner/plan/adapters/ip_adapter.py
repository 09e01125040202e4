"""Resolve an IP-Adapter: find its file, check it against the base's denoiser, and find and check its images."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

from recipe_runner.document.paths import prompt_id
from recipe_runner.plan.adapters.base_modules import base_modules
from recipe_runner.plan.adapters.base_parts import base_parts
from recipe_runner.plan.adapters.image_encoder import find_image_encoder
from recipe_runner.plan.adapters.image_prompts import Reader, find_each, given, image_prompt
from recipe_runner.plan.adapters.kind import ResolveContext
from recipe_runner.plan.adapters.weights_file import find_weights_file
from recipe_runner.plan.resolved import ResolvedImagePrompt, ResolvedIpAdapter
from recipe_runner.plan.resolved_base import AnySource, ResolvedBase
from recipe_runner.problems.place import Place
from recipe_runner.problems.problem import WeightsError, at
from recipe_runner.recipe.types.recipe import IpAdapter
from recipe_runner.sources.source import Source
from recipe_runner.weights.files.contents import read_weights
from recipe_runner.weights.identify.other_kind import suggest_other_kind
from recipe_runner.weights.ip_adapter import (
    AttentionPlace,
    IpAdapterLayout,
    check_abilities,
    check_family,
    check_pipeline,
    expand_ip_scale,
    family_of_pipeline,
    fit_ip_adapter,
    is_off,
    read_ip_adapter,
)
from recipe_runner.weights.modules import Modules, ModuleTable

_VERSION_2 = re.compile(r"plus[-_]?v2", re.IGNORECASE)


def resolve(name: str, entry: Mapping[str, Any], context: ResolveContext, origin: Place) -> ResolvedIpAdapter:
    """Find the files, and check from headers that they fit each other, the base and every prompt.

    Raises:
        RecipeRunnerError: E4xx a file is broken or refused; E61x the scale does not fit; E64x, E65x the adapter does
            not fit.
    """
    adapter = IpAdapter.model_validate(entry)
    base = context.base
    # Everything but the scale and the images, which sweeps vary, is decided once.
    place = ("ip_adapter", name, adapter.model_dump_json(exclude={"scale", "image", "image_embeds"}), base.number)
    core: _Core = context.once(place, lambda: _decide(name, adapter, context, origin))
    scale = adapter.model_dump()["scale"]
    if isinstance(scale, Mapping) and core.places is not None:
        # Only checked here: a run expands the scale again, on the loaded UNet.
        expand_ip_scale(scale, *core.places, label=f"adapter {name}")
    shown = json.dumps([adapter.image, adapter.image_embeds])
    prompts = context.once(
        ("image prompts", name, shown, core.whole.number, context.prompts_section),
        lambda: _image_prompts(name, adapter, core, context),
    )
    if is_off(scale):
        # Nothing is encoded for an adapter at scale 0.
        return core.whole.at(scale, image_prompts={})
    return core.whole.at(scale, image_prompts=prompts)


@dataclass(frozen=True, kw_only=True)
class _Core:
    """An adapter independent of scale and images: `whole` has scale 1 and no images."""

    whole: ResolvedIpAdapter
    places: tuple[tuple[AttentionPlace, ...], Modules] | None
    reader: Reader


def _decide(name: str, adapter: IpAdapter, context: ResolveContext, origin: Place) -> _Core:
    label, base = f"adapter {name}", context.base
    _check_base(base, label)
    modules = _denoiser_modules(context)
    weights = find_weights_file(adapter, context)
    layout, places = _lay_out(name, weights, base.pipeline, modules)
    tensors, family = None, family_of_pipeline(base.pipeline)
    if layout is not None:
        tensors, family = layout.tensor_counts(), layout.family
        _check_options(adapter, layout, context, label)
    encoder_origin = context.origin()
    find_encoder = cache(partial(find_image_encoder, name, adapter, context))
    if adapter.image_encoder is not None:
        encoder_origin = context.origin("image_encoder")
        with at(encoder_origin):
            find_encoder()
    masks = given(("mask",), adapter.mask, context.origin("mask"))
    if family is not None:
        with at(context.origin("mask")):
            check_abilities(family, masks=len(masks), adapters=1, label=label)
    whole = ResolvedIpAdapter(
        name=name,
        source=weights,
        shortcut=_shortcut(adapter, weights),
        masks=tuple(find_each(masks, context)),
        tensors=tensors,
        origin=origin,
    )
    reader = Reader(
        name=name,
        layout=layout,
        find_encoder=find_encoder,
        encoder_origin=encoder_origin,
        masks=len(masks),
    )
    if places is None or modules is None:
        return _Core(whole=whole, places=None, reader=reader)
    return _Core(whole=whole, places=(places, modules), reader=reader)


def _check_base(base: ResolvedBase, label: str) -> None:
    """Raise unless the pipeline of the base takes IP-Adapters, if it is known."""
    if base.pipeline == "auto":
        return
    vae_class = ""
    vae = base_parts(base).get("vae")
    if vae is not None:
        vae_class = vae.class_name
    check_pipeline(base.pipeline, vae_class, label)


def _denoiser_modules(context: ResolveContext) -> Modules | None:
    """The modules of the base's denoiser; None if they are not known."""
    base, family = context.base, family_of_pipeline(context.base.pipeline)
    table: ModuleTable | None = context.once(("modules", base.number), lambda: base_modules(base))
    if table is None or family is None:
        return None
    return table.get(family.component)


def _check_options(adapter: IpAdapter, layout: IpAdapterLayout, context: ResolveContext, label: str) -> None:
    """Refuse options that do not apply to the file.

    Raises:
        WeightsError: E650 `shortcut`, E643 `image_encoder`.
    """
    if adapter.shortcut is not None and layout.variant != "faceid_plus":
        with at(context.origin("shortcut")):
            message = f"{label}: `shortcut` is only for FaceID Plus, and this is {layout.name}"
            raise WeightsError.of("E650", message, "remove `shortcut`")
    if adapter.image_encoder is not None and layout.features is None:
        with at(context.origin("image_encoder")):
            message = f"{label}: {layout.name} does not use an image encoder"
            raise WeightsError.of("E643", message, "remove `image_encoder`")


def _lay_out(
    name: str, weights: AnySource, pipeline: str, modules: Modules | None
) -> tuple[IpAdapterLayout | None, tuple[AttentionPlace, ...] | None]:
    """The layout of the file, and the attention layers that it fits; None if the file or the modules are not known."""
    if not isinstance(weights, Source):
        return None, None
    contents = read_weights(weights.path(weights.files[0].name), f"adapter {name}")
    shapes = contents.weights
    with suggest_other_kind(contents, "ip_adapter"):
        layout = read_ip_adapter(shapes, f"adapter {name}")
    if pipeline != "auto":
        check_family(layout, pipeline, f"adapter {name}")
    if modules is None:
        return layout, None
    return layout, fit_ip_adapter(layout, shapes, modules, f"adapter {name}")


def _shortcut(adapter: IpAdapter, weights: AnySource) -> bool:
    """Whether a FaceID Plus file is version 2, which adds the face embedding to the resampler's output.

    The tensors of both versions are the same, so only the file name tells.
    """
    if adapter.shortcut is not None:
        return adapter.shortcut
    name = adapter.weight_name or adapter.model
    if isinstance(weights, Source):
        name = weights.files[0].name
    return _VERSION_2.search(name.rsplit("/", 1)[-1]) is not None


def _image_prompts(
    name: str, adapter: IpAdapter, core: _Core, context: ResolveContext
) -> Mapping[str, ResolvedImagePrompt]:
    """The images of the adapter for each prompt, by the prompt's id."""
    own = (
        *given(("adapters", name, "image"), adapter.image, context.origin("image")),
        *given(("adapters", name, "image_embeds"), adapter.image_embeds, context.origin("image_embeds")),
    )
    found = {}
    for position, prompt in enumerate(context.prompts):
        override = (prompt.get("images") or {}).get(name)
        files, mask_origin = own, context.origin("mask")
        if override is not None:
            mask_origin = context.place("prompts", position, "images", name)
            files = given(("prompts", prompt_id(prompt, position), "images", name), override, mask_origin)
        # Prompts with the same images share the result.
        shown = tuple((file.role, file.address) for file in files)
        found[prompt_id(prompt, position)] = context.once(
            ("image prompt", name, shown, core.whole.number),
            partial(image_prompt, core.reader, files, context, mask_origin),
        )
    return found
