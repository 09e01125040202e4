"""Write the code for IP-Adapters: one call loads all of them, each with one scale and one image or list of images."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from recipe_runner.exchange.importers.size import picture_size
from recipe_runner.exchange.python.code import Code, ScriptPlace, call, literal, revision_of
from recipe_runner.exchange.python.embeds import embeddings
from recipe_runner.exchange.python.image_calls import CALLS, Calls, Look, load_call
from recipe_runner.plan.resolved import ResolvedIpAdapter
from recipe_runner.sources.source import Source
from recipe_runner.weights.files.contents import read_contents
from recipe_runner.weights.ip_adapter import AdapterFamily, IpAdapterLayout, family_of_pipeline, is_off, read_ip_adapter

if TYPE_CHECKING:
    from recipe_runner.plan.resolved import ResolvedImagePrompt
    from recipe_runner.plan.resolved_base import AnySource, ResolvedComponent
    from recipe_runner.plan.resolved_recipe import ResolvedRecipe, ResolvedVariant

Shown = Mapping[tuple[str, str], "ResolvedImagePrompt"]
"""By adapter and prompt id."""
_PREPROCESSOR = "preprocessor_config.json"


def shown_images(recipe: ResolvedRecipe) -> dict[tuple[str, str], ResolvedImagePrompt]:
    """The image prompts of each adapter and prompt; an adapter that is off in a variant has those of other variants."""
    found: dict[tuple[str, str], ResolvedImagePrompt] = {}
    for variant in reversed(recipe.variants):
        for adapter in ip_adapters(variant):
            for prompt, image_prompt in adapter.image_prompts.items():
                found[adapter.name, prompt] = image_prompt
    return found


def calls_of(variant: ResolvedVariant) -> tuple[AdapterFamily | None, Calls]:
    """The family of the variant's pipeline, and its calls; those for UNets when the base is not on this machine."""
    family = family_of_pipeline(variant.base.pipeline)
    if family is None:
        return None, CALLS["unet"]
    return family, CALLS[family.name]


def image_adapters(variant: ResolvedVariant, shown: Shown) -> list[ResolvedIpAdapter]:
    """The adapters of a variant that a script can load; they have image prompts in at least one variant.

    When the pipeline takes only one adapter, it is the one that is not off.
    """
    family, _ = calls_of(variant)
    takes_one = family is not None and not family.several
    found = []
    for adapter in ip_adapters(variant):
        if takes_one and is_off(adapter.scale):
            continue
        if not any(_reasons(adapter, variant, shown)):
            found.append(adapter)
    return found


def left_out(variant: ResolvedVariant, shown: Shown) -> Iterator[str]:
    """A sentence for each adapter that the script leaves out or cannot load correctly."""
    for adapter in ip_adapters(variant):
        if not is_off(adapter.scale):
            for reason in _reasons(adapter, variant, shown):
                yield f"adapter {adapter.name}: {reason}"
    names = [adapter.name for adapter in variant.adapters]
    for name, bundled in bundled_loras(variant, shown).items():
        if bundled in names:
            yield f"adapter {name}: diffusers names the LoRA in its file {bundled}, the name of another adapter"
    encoders = {_encoder_key(prompt) for prompt in _prompts_of(variant, shown)}
    if len(encoders - {None}) > 1:
        yield "a pipeline has only one image encoder, but the IP-Adapters of this recipe need several"
    if len(_revisions(variant, shown)) > 1:
        yield "diffusers loads all IP-Adapters at one revision, but those of this recipe have several"


def load_lines(variant: ResolvedVariant, shown: Shown, place: ScriptPlace) -> list[str]:
    """The call that loads all IP-Adapters of a variant. It must come before LoRAs, which it switches off."""
    adapters = image_adapters(variant, shown)
    if not adapters:
        return []
    roots: list[object] = []
    names: list[tuple[str, str]] = []
    for adapter in adapters:
        root, folder, name = _file(adapter.source, place)
        roots.append(root)
        names.append((folder, name))
    _, calls = calls_of(variant)
    more: dict[str, object] = {}
    if not any(map(_needs_encoder, _prompts_of(variant, shown))):
        more |= calls.without_encoder()
    revisions = _revisions(variant, shown)
    if len(revisions) == 1 and None not in revisions:
        more["revision"] = revisions.pop()
    return [load_call(calls, roots, names, more)]


def _file(source: AnySource, place: ScriptPlace) -> tuple[object, str, str]:
    """The folder or repository of an adapter's file, its subfolder there, and its name."""
    if not isinstance(source, Source):
        return source.address, source.written.subfolder or "", source.written.weight_name or ""
    folder, _, name = source.files[0].name.rpartition("/")
    if source.commit is None:
        return place.path(source.root / folder), "", name
    return source.address, folder, name


def _needs_encoder(prompt: ResolvedImagePrompt) -> bool:
    """Whether diffusers must search an image encoder: one is needed, and the script does not load it."""
    if prompt.encoder is not None:
        return False
    return prompt.shown is None or prompt.shown.features is not None


def scale_argument(variant: ResolvedVariant, shown: Shown) -> object:
    """The argument of `set_ip_adapter_scale`; None when there is no adapter."""
    adapters = image_adapters(variant, shown)
    if not adapters:
        return None
    _, calls = calls_of(variant)
    return calls.scale([(adapter, _layout(adapter)) for adapter in adapters])


def unchecked(variant: ResolvedVariant, shown: Shown) -> Iterator[str]:
    """A sentence for each adapter that is not on this machine."""
    for adapter in image_adapters(variant, shown):
        if not isinstance(adapter.source, Source):
            yield f"adapter {adapter.name}: not on this machine, so its kind of IP-Adapter is not checked"


def encoder_parts(variant: ResolvedVariant, shown: Shown, place: ScriptPlace) -> dict[str, Code]:
    """The image encoder, and its preprocessor when the script must load it, as components of the base."""
    _, calls = calls_of(variant)
    for prompt in _prompts_of(variant, shown):
        if prompt.encoder is not None:
            return _encoder_code(prompt.encoder, calls, place)
    return {}


def _encoder_code(encoder: ResolvedComponent, calls: Calls, place: ScriptPlace) -> dict[str, Code]:
    parts = {}
    where, named = place.source(encoder.source)
    if encoder.subfolder:
        named["subfolder"] = encoder.subfolder
    if calls.extractor is not None and _has_extractor(encoder):
        parts["feature_extractor"] = Code(call(f"{calls.extractor}.from_pretrained", where, **named))
    if encoder.variant:
        named["variant"] = encoder.variant
    dtype = Code(f"torch.{encoder.dtype}")
    parts["image_encoder"] = Code(call(f"{calls.encoder}.from_pretrained", where, **named, dtype=dtype))
    return parts


def _has_extractor(encoder: ResolvedComponent) -> bool:
    """Whether the encoder's folder has a preprocessor configuration; true when it is not on this machine."""
    source = encoder.source
    if not isinstance(source, Source):
        return True
    wanted = PurePosixPath(encoder.subfolder or "", _PREPROCESSOR).as_posix()
    return any(file.name == wanted for file in source.files)


def _revisions(variant: ResolvedVariant, shown: Shown) -> set[str | None]:
    return {revision_of(adapter.source) for adapter in image_adapters(variant, shown)}


def bundled_loras(variant: ResolvedVariant, shown: Shown) -> dict[str, str]:
    """The name in diffusers of the LoRA in each FaceID file, by the name of the adapter."""
    found = {}
    for index, adapter in enumerate(image_adapters(variant, shown)):
        layout = _layout(adapter)
        if layout is not None and layout.lora:
            found[adapter.name] = f"faceid_{index}"
    return found


def images_of(variant: ResolvedVariant, prompt: str, shown: Shown, place: ScriptPlace) -> dict[str, object]:
    """The arguments with the images of a prompt, for the call of the pipeline."""
    adapters = image_adapters(variant, shown)
    if not adapters:
        return {}
    _, calls = calls_of(variant)
    return calls.images([_look(adapter, shown[adapter.name, prompt], place) for adapter in adapters], variant)


def _look(adapter: ResolvedIpAdapter, given: ResolvedImagePrompt, place: ScriptPlace) -> Look:
    """The image prompt of an adapter, as code."""
    images = [Code(f"load_image(str({path.text}))") for path in _paths(given.pictures, place)]
    embeds = [embeddings(source, place) for source in given.embeds if isinstance(source, Source)]
    return Look(adapter=adapter, images=images, embeds=embeds, given=given)


def _paths(sources: Iterable[AnySource], place: ScriptPlace) -> list[Code]:
    """The paths of the files that are on this machine."""
    return [place.path(source.path(source.files[0].name)) for source in sources if isinstance(source, Source)]


def masks_of(variant: ResolvedVariant, shown: Shown, place: ScriptPlace) -> list[object]:
    """The masks of each adapter, None for an adapter without; empty when no adapter has masks."""
    height, width = picture_size(variant.base, variant.sampling)
    found: list[object] = []
    for adapter in image_adapters(variant, shown):
        files = _paths(adapter.masks, place)
        found.append(Code(f"masks({literal(files)}, {height}, {width})") if files else None)
    return found if any(found) else []


def ip_adapters(variant: ResolvedVariant) -> list[ResolvedIpAdapter]:
    """The IP-Adapters of a variant."""
    return [adapter for adapter in variant.adapters if isinstance(adapter, ResolvedIpAdapter)]


def _prompts_of(variant: ResolvedVariant, shown: Shown) -> list[ResolvedImagePrompt]:
    names = [adapter.name for adapter in image_adapters(variant, shown)]
    return [found for (adapter, _), found in shown.items() if adapter in names]


def _encoder_key(prompt: ResolvedImagePrompt) -> str | None:
    """Equal for prompts with the same image encoder; None for a prompt without."""
    encoder = prompt.encoder
    if encoder is None:
        return None
    return literal([encoder.source.digest, encoder.subfolder, encoder.dtype])


def _reasons(adapter: ResolvedIpAdapter, variant: ResolvedVariant, shown: Shown) -> Iterator[str]:
    """Why a script cannot load the adapter; nothing when it can."""
    source = adapter.source
    if not isinstance(source, Source) and not source.written.weight_name:
        yield "not on this machine, and the recipe does not name its file"
    if not _all_found(adapter.masks):
        yield "one of its masks is not on this machine"
    for prompt in variant.prompts:
        reasons = _prompt_reasons(adapter, shown.get((adapter.name, prompt.id)), variant)
        if reasons:
            yield from reasons
            return


def _prompt_reasons(
    adapter: ResolvedIpAdapter, given: ResolvedImagePrompt | None, variant: ResolvedVariant
) -> list[str]:
    """Why a script cannot use an image prompt of the adapter."""
    if given is None:
        return ["it is off everywhere"]
    if given.shown is None and given.embeds:
        return ["it or its embeddings are not on this machine, so their meaning is not known"]
    if not _all_found(given.pictures):
        return ["one of its images is not on this machine"]
    _, calls = calls_of(variant)
    return list(calls.limits(adapter, given, _layout(adapter), variant))


def _all_found(sources: Iterable[AnySource]) -> bool:
    return all(isinstance(source, Source) for source in sources)


def _layout(adapter: ResolvedIpAdapter) -> IpAdapterLayout | None:
    source = adapter.source
    if not isinstance(source, Source):
        return None
    return read_ip_adapter(read_contents(source.path(source.files[0].name)).weights, f"adapter {adapter.name}")
