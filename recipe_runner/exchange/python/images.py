"""IP-Adapters as diffusers loads them: all in one call, one scale and one image (or list) for each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from recipe_runner.exchange.importers.size import picture_size
from recipe_runner.exchange.python.code import Code, Place, call, literal
from recipe_runner.exchange.python.embeds import embeddings
from recipe_runner.exchange.python.image_calls import CALLS, Calls, Look, load_call
from recipe_runner.plan.resolved import ResolvedIpAdapter
from recipe_runner.sources.source import Source
from recipe_runner.weights.files.contents import read_contents
from recipe_runner.weights.ip_adapter import AdapterFamily, IpAdapterLayout, family_of_pipeline, is_off, read_ip_adapter

if TYPE_CHECKING:
    from recipe_runner.plan.resolved import ResolvedComponent, ResolvedImagePrompt
    from recipe_runner.plan.resolved_recipe import ResolvedRecipe, ResolvedVariant

Shown = Mapping[tuple[str, str], "ResolvedImagePrompt"]
"""By adapter and prompt id."""
_PREPROCESSOR = "preprocessor_config.json"


def shown_images(recipe: ResolvedRecipe) -> dict[tuple[str, str], ResolvedImagePrompt]:
    """What each adapter is shown for each prompt; one that is off in a variant is shown what others show it."""
    return {
        (adapter.name, prompt): found
        for variant in reversed(recipe.variants)
        for adapter in variant.adapters
        if isinstance(adapter, ResolvedIpAdapter)
        for prompt, found in adapter.image_prompts.items()
    }


def calls_of(variant: ResolvedVariant) -> tuple[AdapterFamily | None, Calls]:
    """How the variant's pipeline is called; as for UNets where the base is not on this machine."""
    family = family_of_pipeline(variant.base.pipeline)
    return family, CALLS[family.name if family is not None else "unet"]


def image_adapters(variant: ResolvedVariant, shown: Shown) -> list[ResolvedIpAdapter]:
    """The adapters that a script can have: those of a variant that are shown something in some variant.

    Where the pipeline takes one adapter alone, it is the one that acts.
    """
    family, _ = calls_of(variant)
    alone = family is not None and not family.several
    found = [adapter for adapter in variant.adapters if isinstance(adapter, ResolvedIpAdapter)]
    found = [adapter for adapter in found if not (alone and is_off(adapter.scale))]
    return [adapter for adapter in found if not any(_reasons(adapter, variant, shown))]


def left_out(variant: ResolvedVariant, shown: Shown) -> Iterator[str]:
    """Sentences for the adapters that a script leaves out."""
    for adapter in variant.adapters:
        if isinstance(adapter, ResolvedIpAdapter) and not is_off(adapter.scale):
            yield from (f"adapter {adapter.name}: {reason}" for reason in _reasons(adapter, variant, shown))
    for name, bundled in bundled_loras(variant, shown).items():
        if any(adapter.name == bundled for adapter in variant.adapters):
            yield f"adapter {name}: diffusers calls the LoRA in its file {bundled}, as another adapter is called"
    encoders = {literal(_encoder_place(each)) for each in _prompts_of(variant, shown) if each.encoder is not None}
    if len(encoders) > 1:
        yield "a pipeline has one image encoder, and the IP-Adapters of this recipe need several"
    if len({_revision(adapter) for adapter in image_adapters(variant, shown)}) > 1:
        yield "diffusers loads all IP-Adapters at one revision, and those of this recipe are at several"


def load_lines(variant: ResolvedVariant, shown: Shown, place: Place) -> list[str]:
    """The call that loads all IP-Adapters of a variant; before LoRAs, which it would switch off."""
    adapters = image_adapters(variant, shown)
    if not adapters:
        return []
    roots: list[object] = []
    names: list[tuple[str, str]] = []
    for adapter in adapters:
        source = adapter.source
        if not isinstance(source, Source):
            roots.append(source.address)
            names.append((source.written.subfolder or "", source.written.weight_name or ""))
            continue
        folder, _, name = source.files[0].name.rpartition("/")
        roots.append(place.path(source.root / folder) if source.commit is None else source.address)
        names.append((folder if source.commit is not None else "", name))
    # With the encoder at hand none is looked for, nor where none is needed.
    _, calls = calls_of(variant)
    prompts = _prompts_of(variant, shown)
    needed = any(each.encoder is None and (each.shown is None or each.shown.features is not None) for each in prompts)
    revisions = {_revision(adapter) for adapter in adapters}
    revision = {"revision": next(iter(revisions))} if len(revisions) == 1 and None not in revisions else {}
    return [load_call(calls, roots, names, {**({} if needed else calls.without_encoder()), **revision})]


def scale_argument(variant: ResolvedVariant, shown: Shown) -> object:
    """The argument of `set_ip_adapter_scale`; None where there is no adapter."""
    adapters = image_adapters(variant, shown)
    return calls_of(variant)[1].scale([(each, _layout(each)) for each in adapters]) if adapters else None


def unchecked(variant: ResolvedVariant, shown: Shown) -> Iterator[str]:
    """Sentences for the adapters that are not here."""
    for adapter in image_adapters(variant, shown):
        if not isinstance(adapter.source, Source):
            yield f"adapter {adapter.name}: not on this machine, so its kind of IP-Adapter is not checked"


def encoder_parts(variant: ResolvedVariant, shown: Shown, place: Place) -> dict[str, Code]:
    """The image encoder, and its preprocessor where a script has to name it, as components of the base."""
    _, calls = calls_of(variant)
    for prompt in _prompts_of(variant, shown):
        encoder = prompt.encoder
        if encoder is not None:
            where, named = place.source(encoder.source)
            if encoder.subfolder:
                named["subfolder"] = encoder.subfolder
            parts = {}
            if calls.extractor is not None and _has_extractor(encoder):
                extractor = call(f"{calls.extractor}.from_pretrained", where, **named)
                parts["feature_extractor"] = Code(extractor)
            named |= {"variant": encoder.variant} if encoder.variant else {}
            dtype = Code(f"torch.{encoder.dtype}")
            parts["image_encoder"] = Code(call(f"{calls.encoder}.from_pretrained", where, **named, dtype=dtype))
            return parts
    return {}


def _has_extractor(encoder: ResolvedComponent) -> bool:
    """Whether the encoder's folder says how pictures are prepared; assumed where it is not on this machine."""
    source = encoder.source
    folder = f"{encoder.subfolder}/" if encoder.subfolder else ""
    return not isinstance(source, Source) or any(file.name == folder + _PREPROCESSOR for file in source.files)


def _revision(adapter: ResolvedIpAdapter) -> str | None:
    source = adapter.source
    return source.commit if isinstance(source, Source) else source.written.revision


def bundled_loras(variant: ResolvedVariant, shown: Shown) -> dict[str, str]:
    """By adapter the name that diffusers gives the LoRA in a FaceID file."""
    return {
        adapter.name: f"faceid_{index}"
        for index, adapter in enumerate(image_adapters(variant, shown))
        for layout in [_layout(adapter)]
        if layout is not None and layout.lora
    }


def images_of(variant: ResolvedVariant, prompt: str, shown: Shown, place: Place) -> dict[str, object]:
    """What a prompt says of its images, as the pipeline's family is called."""
    adapters = image_adapters(variant, shown)
    looks = [_look(adapter, shown[adapter.name, prompt], place) for adapter in adapters]
    return calls_of(variant)[1].images(looks, variant) if looks else {}


def _look(adapter: ResolvedIpAdapter, given: ResolvedImagePrompt, place: Place | None) -> Look:
    """What an adapter is shown; without a `place` pictures are counted, and not written."""
    found = [source for source in given.pictures if isinstance(source, Source)]
    pictures = [source.path(source.files[0].name) for source in found]
    return Look(
        adapter=adapter,
        pictures=[Code(f"load_image(str({place.path(path).text}))" if place else "") for path in pictures],
        embeds=[embeddings(each, place) for each in given.embeds if place and isinstance(each, Source)],
        given=given,
    )


def masks_of(variant: ResolvedVariant, shown: Shown, place: Place) -> list[object]:
    """The masks of each adapter, None for one without; empty where none has any."""
    height, width = picture_size(variant.base, variant.sampling)
    found: list[object] = []
    for adapter in image_adapters(variant, shown):
        files = [
            place.path(source.path(source.files[0].name)) for source in adapter.masks if isinstance(source, Source)
        ]
        found.append(Code(f"masks({literal(files)}, {height}, {width})") if files else None)
    return found if any(found) else []


def _prompts_of(variant: ResolvedVariant, shown: Shown) -> list[ResolvedImagePrompt]:
    names = [adapter.name for adapter in image_adapters(variant, shown)]
    return [found for (adapter, _), found in shown.items() if adapter in names]


def _encoder_place(prompt: ResolvedImagePrompt) -> Sequence[object]:
    encoder = prompt.encoder
    return [] if encoder is None else [encoder.source.digest, encoder.subfolder, encoder.dtype]


def _reasons(adapter: ResolvedIpAdapter, variant: ResolvedVariant, shown: Shown) -> Iterator[str]:
    """Why a script cannot have the adapter; none where it can."""
    source = adapter.source
    if not isinstance(source, Source) and not source.written.weight_name:
        yield "not on this machine, and the recipe does not name its file"
    if not all(isinstance(mask, Source) for mask in adapter.masks):
        yield "one of its masks is not on this machine"
    for prompt in variant.prompts:
        given = shown.get((adapter.name, prompt.id))
        if given is None:
            yield "it is off everywhere"
            return
        if given.shown is None and given.embeds:
            yield "it or its embeddings are not on this machine, so what it makes of them is not known"
            return
        if not all(isinstance(picture, Source) for picture in given.pictures):
            yield "one of its images is not on this machine"
            return
        limits = list(calls_of(variant)[1].limits(_look(adapter, given, None), _layout(adapter), variant))
        if limits:
            yield from limits
            return


def _layout(adapter: ResolvedIpAdapter) -> IpAdapterLayout | None:
    source = adapter.source
    if not isinstance(source, Source):
        return None
    return read_ip_adapter(read_contents(source.path(source.files[0].name)).weights, f"adapter {adapter.name}")
