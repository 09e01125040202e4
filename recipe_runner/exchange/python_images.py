"""IP-Adapters as diffusers loads them: all in one call, one scale and one image (or list) for each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from recipe_runner.exchange.python_code import Code, Place, call, literal
from recipe_runner.exchange.python_embeds import embeddings
from recipe_runner.exchange.size import picture_size
from recipe_runner.sources.source import Source
from recipe_runner.weights.contents import read_contents
from recipe_runner.weights.ip_adapter import IpAdapterLayout, is_off, read_ip_adapter

if TYPE_CHECKING:
    from recipe_runner.resolved import ResolvedAdapter, ResolvedImagePrompt, ResolvedRecipe, ResolvedVariant

Shown = Mapping[tuple[str, str], "ResolvedImagePrompt"]
"""By adapter and prompt id."""


def shown_images(recipe: ResolvedRecipe) -> dict[tuple[str, str], ResolvedImagePrompt]:
    """What each adapter is shown for each prompt; one that is off in a variant is shown what others show it."""
    return {
        (adapter.name, prompt): found
        for variant in reversed(recipe.variants)
        for adapter in variant.adapters
        for prompt, found in adapter.image_prompts.items()
    }


def image_adapters(variant: ResolvedVariant, shown: Shown) -> list[ResolvedAdapter]:
    """The adapters that a script can have: those of a variant that are shown something in some variant."""
    found = [adapter for adapter in variant.adapters if adapter.kind == "ip_adapter"]
    return [adapter for adapter in found if not any(_reasons(adapter, variant, shown))]


def left_out(variant: ResolvedVariant, shown: Shown) -> Iterator[str]:
    """Sentences for the adapters that a script leaves out."""
    for adapter in variant.adapters:
        if adapter.kind == "ip_adapter" and not is_off(adapter.scale):
            yield from (f"adapter {adapter.name}: {reason}" for reason in _reasons(adapter, variant, shown))
    for name, bundled in bundled_loras(variant, shown).items():
        if any(adapter.name == bundled for adapter in variant.adapters):
            yield f"adapter {name}: diffusers calls the LoRA in its file {bundled}, as another adapter is called"
    encoders = {literal(_encoder_place(each)) for each in _prompts_of(variant, shown) if each.encoder is not None}
    if len(encoders) > 1:
        yield "a pipeline has one image encoder, and the IP-Adapters of this recipe need several"


def load_lines(variant: ResolvedVariant, shown: Shown, place: Place) -> list[str]:
    """The call that loads all IP-Adapters of a variant; before LoRAs, which it would switch off."""
    adapters = image_adapters(variant, shown)
    if not adapters:
        return []
    roots: list[object] = []
    names: list[tuple[str, str]] = []
    for adapter in adapters:
        source = adapter.sources["weights"]
        if not isinstance(source, Source):
            roots.append(source.address)
            names.append((source.subfolder or "", source.weight_name or ""))
            continue
        folder, _, name = source.files[0].name.rpartition("/")
        roots.append(place.path(source.root / folder) if source.commit is None else source.address)
        names.append((folder if source.commit is not None else "", name))
    # With the encoder at hand none is looked for, nor where none is needed.
    prompts = _prompts_of(variant, shown)
    needed = any(each.encoder is None and (each.shown is None or each.shown.features is not None) for each in prompts)
    encoder = {} if needed else {"image_encoder_folder": None}
    folders, files = [folder for folder, _ in names], [name for _, name in names]
    return [call("pipeline.load_ip_adapter", roots, subfolder=folders, weight_name=files, **encoder)]


def unchecked(variant: ResolvedVariant, shown: Shown) -> Iterator[str]:
    """Sentences for the adapters that are not here."""
    for adapter in image_adapters(variant, shown):
        if not isinstance(adapter.sources["weights"], Source):
            yield f"adapter {adapter.name}: not on this machine, so its kind of IP-Adapter is not checked"


def encoder_argument(variant: ResolvedVariant, shown: Shown, place: Place) -> Code | None:
    """The image encoder as a component of the base."""
    for prompt in _prompts_of(variant, shown):
        encoder = prompt.encoder
        if encoder is not None:
            where, named = place.source(encoder.source)
            if encoder.subfolder:
                named["subfolder"] = encoder.subfolder
            named |= {"variant": encoder.variant} if encoder.variant else {}
            dtype = Code(f"torch.{encoder.dtype}")
            return Code(call("CLIPVisionModelWithProjection.from_pretrained", where, **named, dtype=dtype))
    return None


def bundled_loras(variant: ResolvedVariant, shown: Shown) -> dict[str, str]:
    """By adapter the name that diffusers gives the LoRA in a FaceID file."""
    return {
        adapter.name: f"faceid_{index}"
        for index, adapter in enumerate(image_adapters(variant, shown))
        for layout in [_layout(adapter)]
        if layout is not None and layout.lora
    }


def images_of(variant: ResolvedVariant, prompt: str, shown: Shown, place: Place) -> dict[str, object]:
    """What a prompt says of its images, for each adapter: one or a list; `images` where some come as embeddings."""
    pictures: list[list[object]] = []
    embeds: list[list[object]] = []
    faces: list[bool] = []
    adapters = image_adapters(variant, shown)
    for adapter in adapters:
        given = shown[adapter.name, prompt]
        files = [(role, source) for role, source in given.sources.items() if isinstance(source, Source)]
        pictures.append(
            [
                Code(f"load_image(str({place.path(source.path(source.files[0].name)).text}))")
                for role, source in files
                if role.startswith("image[")
            ]
        )
        patches = given.shown is not None and given.shown.patches
        embeds.append(
            [embeddings(source, place, patches=patches) for role, source in files if role.startswith("image_embeds[")]
        )
        faces.append("faces" in given.sources)
    if not any(embeds) and not any(faces):
        return {"ip_adapter_image": [each[0] if len(each) == 1 else each for each in pictures]} if adapters else {}
    images: list[object] = []
    for adapter, shows, holds, found in zip(adapters, pictures, embeds, faces, strict=True):
        plus = shown[adapter.name, prompt].encoder is not None
        shortcut = {"shortcut": bool(adapter.constants["shortcut"])} if plus and (holds or found) else {}
        if found:
            images.append(Code(call("faces", shows, **shortcut)))
            continue
        image: dict[str, object] = {}
        image |= {"pictures": shows} if shows else {}
        image |= {"embeds": holds} if holds else {}
        images.append({**image, **shortcut})
    return {"images": images}


def masks_of(variant: ResolvedVariant, shown: Shown, place: Place) -> list[object]:
    """The masks of each adapter, None for one without; empty where none has any."""
    height, width = picture_size(variant.base, variant.sampling)
    found: list[object] = []
    for adapter in image_adapters(variant, shown):
        files = [
            place.path(source.path(source.files[0].name))
            for role, source in adapter.sources.items()
            if role.startswith("mask") and isinstance(source, Source)
        ]
        found.append(Code(f"masks({literal(files)}, {height}, {width})") if files else None)
    return found if any(found) else []


def _prompts_of(variant: ResolvedVariant, shown: Shown) -> list[ResolvedImagePrompt]:
    names = [adapter.name for adapter in image_adapters(variant, shown)]
    return [found for (adapter, _), found in shown.items() if adapter in names]


def _encoder_place(prompt: ResolvedImagePrompt) -> Sequence[object]:
    encoder = prompt.encoder
    return [] if encoder is None else [encoder.source.digest, encoder.subfolder, encoder.dtype]


def _reasons(adapter: ResolvedAdapter, variant: ResolvedVariant, shown: Shown) -> Iterator[str]:
    """Why a script cannot have the adapter; none where it can."""
    source = adapter.sources["weights"]
    if not isinstance(source, Source) and not source.weight_name:
        yield "not on this machine, and the recipe does not name its file"
    if not all(isinstance(each, Source) for role, each in adapter.sources.items() if role.startswith("mask")):
        yield "one of its masks is not on this machine"
    for prompt in variant.prompts:
        given = shown.get((adapter.name, prompt.id))
        if given is None:
            yield "it is off everywhere"
            return
        if given.shown is None and any(role.startswith("image_embeds[") for role in given.sources):
            yield "it or its embeddings are not on this machine, so what it makes of them is not known"
            return
        if not all(isinstance(each, Source) for role, each in given.sources.items() if role.startswith("image[")):
            yield "one of its images is not on this machine"
            return


def _layout(adapter: ResolvedAdapter) -> IpAdapterLayout | None:
    source = adapter.sources["weights"]
    if not isinstance(source, Source):
        return None
    return read_ip_adapter(read_contents(source.path(source.files[0].name)).weights, f"adapter {adapter.name}")
