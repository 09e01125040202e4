"""IP-Adapters as diffusers loads them: all in one call, one scale and one image (or list) for each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from recipe_runner.exchange.python_code import Code, Place, call, literal
from recipe_runner.exchange.size import picture_size
from recipe_runner.sources.source import Source
from recipe_runner.weights.contents import read_contents
from recipe_runner.weights.ip_adapter import is_off, read_ip_adapter

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
    """The adapters that a script can have: those of a variant that are shown plain images in some variant."""
    found = [adapter for adapter in variant.adapters if adapter.kind == "ip_adapter"]
    return [adapter for adapter in found if not any(_reasons(adapter, variant, shown))]


def left_out(variant: ResolvedVariant, shown: Shown) -> Iterator[str]:
    """Sentences for the adapters that a script leaves out."""
    for adapter in variant.adapters:
        if adapter.kind == "ip_adapter" and not is_off(adapter.scale):
            yield from (f"adapter {adapter.name}: {reason}" for reason in _reasons(adapter, variant, shown))
    several = {prompt.adapter for prompt in _prompts_of(variant, shown) if prompt.count > 1}
    for name in (adapter.name for adapter in variant.adapters if adapter.name in several):
        yield f"adapter {name}: diffusers encodes several images together, a run one by one: the last bits may differ"
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
    # With the encoder at hand none is looked for.
    encoder = {} if encoder_argument(variant, shown, place) is None else {"image_encoder_folder": None}
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


def images_of(variant: ResolvedVariant, prompt: str, shown: Shown, place: Place) -> list[object]:
    """The argument `ip_adapter_image`: one image, or list of images, for each adapter."""
    found: list[object] = []
    for adapter in image_adapters(variant, shown):
        given = shown[adapter.name, prompt]
        images: list[object] = [
            Code(f"load_image(str({place.path(source.path(source.files[0].name)).text}))")
            for role, source in given.sources.items()
            if role.startswith("image[") and isinstance(source, Source)
        ]
        found.append(images[0] if len(images) == 1 else images)
    return found


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
    if isinstance(source, Source):
        layout = read_ip_adapter(read_contents(source.path(source.files[0].name)).shapes, f"adapter {adapter.name}")
        if layout.variant not in ("base", "plus", "full"):
            yield f"{layout.name} needs code of its own, which is not written here"
    elif not source.weight_name:
        yield "not on this machine, and the recipe does not name its file"
    if not all(isinstance(each, Source) for role, each in adapter.sources.items() if role.startswith("mask")):
        yield "one of its masks is not on this machine"
    for prompt in variant.prompts:
        given = shown.get((adapter.name, prompt.id))
        if given is None:
            yield "it is off everywhere"
            return
        if not all(role.startswith("image[") or role == "image_encoder" for role in given.sources):
            yield "embeddings of images are not written here"
            return
