"""IP-Adapters: found, proved whole, fitted to the base's denoiser, and what they are shown found and read through."""

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
from recipe_runner.plan.adapters.kind import Surroundings
from recipe_runner.plan.adapters.weights_file import find_weights_file
from recipe_runner.plan.resolved import AnySource, ResolvedImagePrompt, ResolvedIpAdapter
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


def resolve(name: str, entry: Mapping[str, Any], surroundings: Surroundings, origin: Place) -> ResolvedIpAdapter:
    """Find the files, and prove from headers that all of them fit each other, the base, and every prompt.

    Raises:
        RecipeRunnerError: E4xx a file is broken or refused; E61x the scale, E64x, E65x the adapter does not fit.
    """
    adapter = IpAdapter.model_validate(entry)
    base = surroundings.base
    # Everything but the scale and the images, which are what sweeps vary, is decided once.
    place = ("ip_adapter", name, adapter.model_dump_json(exclude={"scale", "image", "image_embeds"}), base.number)
    core: _Core = surroundings.once(place, lambda: _decide(name, adapter, surroundings, origin))
    scale = adapter.model_dump()["scale"]
    if isinstance(scale, Mapping) and core.places is not None:
        # For its problems alone: executing expands the scale again, on the UNet that is really there.
        expand_ip_scale(scale, *core.places, label=f"adapter {name}")
    shown = json.dumps([adapter.image, adapter.image_embeds])
    prompts = surroundings.once(
        ("image prompts", name, shown, core.whole.number, surroundings.prompts_section),
        lambda: _image_prompts(name, adapter, core, surroundings),
    )
    # At scale 0 everywhere it is not there: nothing is encoded for it.
    return core.whole.at(scale, image_prompts={} if is_off(scale) else prompts)


@dataclass(frozen=True, kw_only=True)
class _Core:
    """What an adapter is at any scale, and whatever it is shown: `whole` is it at scale 1, shown nothing."""

    whole: ResolvedIpAdapter
    places: tuple[tuple[AttentionPlace, ...], Modules] | None
    reader: Reader


def _decide(name: str, adapter: IpAdapter, surroundings: Surroundings, origin: Place) -> _Core:
    base = surroundings.base
    if base.pipeline != "auto":
        vae = base_parts(base).get("vae")
        check_pipeline(base.pipeline, "" if vae is None else vae.class_name, f"adapter {name}")
    table: ModuleTable | None = surroundings.once(("modules", base.number), lambda: base_modules(base))
    family = family_of_pipeline(base.pipeline)
    modules = None if table is None or family is None else table.get(family.component)
    weights = find_weights_file(adapter, surroundings)
    layout, places = _lay_out(name, weights, base.pipeline, modules)
    family = layout.family if layout is not None else family
    if adapter.shortcut is not None and layout is not None and layout.variant != "faceid_plus":
        message = f"adapter {name}: `shortcut` is for FaceID Plus, and this is {layout.name}"
        with at(surroundings.origin("shortcut")):
            raise WeightsError.of("E650", message, "remove `shortcut`")
    encoder_origin = surroundings.origin("image_encoder") if adapter.image_encoder else surroundings.origin()
    find_encoder = cache(partial(find_image_encoder, name, adapter, surroundings))
    if adapter.image_encoder is not None:
        with at(encoder_origin):
            if layout is not None and layout.features is None:
                message = f"adapter {name}: {layout.name} reads no image encoder"
                raise WeightsError.of("E643", message, "remove `image_encoder`")
            find_encoder()
    masks = given(("mask",), adapter.mask, surroundings.origin("mask"))
    if family is not None:
        with at(surroundings.origin("mask")):
            check_abilities(family, masks=len(masks), adapters=1, label=f"adapter {name}")
    return _Core(
        whole=ResolvedIpAdapter(
            name=name,
            source=weights,
            shortcut=_shortcut(adapter, weights),
            masks=tuple(find_each(masks, surroundings)),
            tensors=None if layout is None else layout.tensor_counts(),
            origin=origin,
        ),
        places=None if places is None or modules is None else (places, modules),
        reader=Reader(
            name=name,
            layout=layout,
            find_encoder=find_encoder,
            encoder_origin=encoder_origin,
            masks=len(masks),
        ),
    )


def _lay_out(
    name: str, weights: AnySource, pipeline: str, modules: Modules | None
) -> tuple[IpAdapterLayout | None, tuple[AttentionPlace, ...] | None]:
    """What the file is, and the attentions it lands on; None while the file or the base's modules are not known."""
    if not isinstance(weights, Source):
        return None, None
    contents = read_weights(weights.path(weights.files[0].name), f"adapter {name}")
    shapes = contents.weights
    with suggest_other_kind(contents, "ip_adapter"):
        layout = read_ip_adapter(shapes, f"adapter {name}")
    if pipeline != "auto":
        check_family(layout, pipeline, f"adapter {name}")
    return layout, None if modules is None else fit_ip_adapter(layout, shapes, modules, f"adapter {name}")


def _shortcut(adapter: IpAdapter, weights: AnySource) -> bool:
    """Version 2 of FaceID Plus adds the face embedding to what the resampler makes of it; only its name tells."""
    if adapter.shortcut is not None:
        return adapter.shortcut
    name = weights.files[0].name if isinstance(weights, Source) else adapter.weight_name or adapter.model
    return _VERSION_2.search(name.rsplit("/", 1)[-1]) is not None


def _image_prompts(
    name: str, adapter: IpAdapter, core: _Core, surroundings: Surroundings
) -> Mapping[str, ResolvedImagePrompt]:
    """By the id of each prompt what the adapter is shown for it."""
    own = (
        *given(("adapters", name, "image"), adapter.image, surroundings.origin("image")),
        *given(("adapters", name, "image_embeds"), adapter.image_embeds, surroundings.origin("image_embeds")),
    )
    found = {}
    for position, prompt in enumerate(surroundings.prompts):
        override = (prompt.get("images") or {}).get(name)
        files, mask_origin = own, surroundings.origin("mask")
        if override is not None:
            mask_origin = surroundings.place("prompts", position, "images", name)
            files = given(("prompts", prompt_id(prompt, position), "images", name), override, mask_origin)
        # Prompts that show it the same share what was found.
        shown = tuple((file.role, file.address) for file in files)
        found[prompt_id(prompt, position)] = surroundings.once(
            ("image prompt", name, shown, core.whole.number),
            partial(image_prompt, core.reader, files, surroundings, mask_origin),
        )
    return found
