"""The images of an IP-Adapter for each prompt: the adapter's own images or embeddings, or those of the prompt."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from recipe_runner.document.paths import format_path
from recipe_runner.images.read import check_picture
from recipe_runner.plan.adapters.image_encoder import encoder_config
from recipe_runner.plan.adapters.kind import ResolveContext
from recipe_runner.plan.resolved import ResolvedImagePrompt, ResolvedIpAdapter
from recipe_runner.plan.resolved_base import AnySource, ResolvedComponent
from recipe_runner.plan.resolved_recipe import ResolvedVariant
from recipe_runner.problems.place import Place
from recipe_runner.problems.problem import WeightsError, at
from recipe_runner.sources.face_models import ADDRESS, find_face_models
from recipe_runner.sources.inputs import find_input
from recipe_runner.sources.missing import SourceMissing, unresolved
from recipe_runner.sources.source import Address, Source
from recipe_runner.weights.files.image_embeds import embeds_shape, is_embeds
from recipe_runner.weights.ip_adapter import (
    ImagePromptShape,
    IpAdapterLayout,
    check_abilities,
    check_encoder,
    check_image_prompt,
    family_of_pipeline,
)
from recipe_runner.weights.modules import Shape


@dataclass(frozen=True, kw_only=True)
class Reader:
    """The part of an IP-Adapter that decides how images are encoded. `layout` is None if its file is missing."""

    name: str
    layout: IpAdapterLayout | None
    find_encoder: Callable[[], ResolvedComponent]
    encoder_origin: Place
    masks: int


@dataclass(frozen=True, kw_only=True)
class InputAddress:
    """The address of an image, or of an embedding if `embeds`, with its path (`role`) and place in the recipe."""

    address: str
    role: str
    origin: Place
    embeds: bool


def given(path: tuple[str | int, ...], value: str | Sequence[str] | None, origin: Place) -> tuple[InputAddress, ...]:
    """The addresses of `value`, at `path` of the recipe."""
    addresses: Sequence[str] = ()
    if isinstance(value, str):
        addresses = (value,)
    elif value is not None:
        addresses = value
    found = []
    for index, address in enumerate(addresses):
        role = format_path(path)
        if len(addresses) > 1:
            role = f"{role}[{index}]"
        embeds = path[-1] == "image_embeds" or (path[-1] != "mask" and is_embeds(address))
        found.append(InputAddress(address=address, role=role, origin=origin, embeds=embeds))
    return tuple(found)


def find_each(files: Sequence[InputAddress], context: ResolveContext) -> list[AnySource]:
    """The source of each file; an image is read and checked once. A URL that was not fetched is left unresolved.

    Raises:
        RecipeRunnerError: E4xx, E648, at the place that names the file.
    """

    def find(file: InputAddress) -> AnySource:
        try:
            source = find_input(file.address, context.folder)
        except SourceMissing as error:
            return unresolved(error, Address(file.address))
        if not file.embeds:
            check_picture(source.path(source.files[0].name), file.address)
        return source

    found = []
    for file in files:
        with at(file.origin):
            found.append(context.once(("input", file.address, file.embeds), partial(find, file)))
    return found


def image_prompt(
    reader: Reader, files: Sequence[InputAddress], context: ResolveContext, mask_origin: Place
) -> ResolvedImagePrompt:
    """The images of the adapter for a prompt that gives it `files`, checked from headers.

    `mask_origin` is the place to report if the numbers of masks and images differ.

    Raises:
        RecipeRunnerError: E4xx, E643 to E648; at the place of the fault in the recipe.
    """
    embeds: list[tuple[InputAddress, AnySource]] = []
    pictures: list[tuple[InputAddress, AnySource]] = []
    for file, source in zip(files, find_each(files, context), strict=True):
        if file.embeds:
            embeds.append((file, source))
        else:
            pictures.append((file, source))
    label, origin = f"adapter {reader.name}", files[0].origin
    encoder, faces = None, None
    with at(origin):
        shown = _shown(reader, len(pictures), embeds, label)
        if pictures:
            encoder = _encoder(reader, shown, label)
        if shown is not None and shown.faces:
            faces = context.once(("face models",), _face_models)
    with at(mask_origin):
        _check_masks(reader.masks, shown, label)
    return ResolvedImagePrompt(
        name=reader.name,
        shown=shown,
        pictures=tuple(source for _, source in pictures),
        embeds=tuple(source for _, source in embeds),
        encoder=encoder,
        faces=faces,
        paths=tuple(file.role for file, _ in (*pictures, *embeds)),
        allow_pickle=context.allow_pickle,
        origin=origin,
    )


def _check_masks(masks: int, shown: ImagePromptShape | None, label: str) -> None:
    """Raise E647 unless an adapter with masks has one for each image."""
    if not masks or shown is None or masks == shown.count:
        return
    message = f"{label}: {_counted(masks, 'mask')} for {_counted(shown.count, 'image')}"
    raise WeightsError.of("E647", message, "give one mask for each image, in the same order")


def _counted(count: int, word: str) -> str:
    if count == 1:
        return f"1 {word}"
    return f"{count} {word}s"


def check_together(adapters: Sequence[ResolvedIpAdapter], variant: ResolvedVariant) -> None:
    """Check that `adapters`, all with images, work together with the base, prompts and sampling of `variant`.

    Raises:
        WeightsError: E656 several IP-Adapters act at once where the base takes one. E646 images are guided and an
            embedding comes without the negative one that this needs.
    """
    family = family_of_pipeline(variant.base.pipeline)
    if family is not None:
        for count, adapter in enumerate(adapters, 1):
            with at(adapter.origin):
                check_abilities(family, masks=0, adapters=count, label=f"adapter {adapter.name}")
    for adapter in adapters:
        for prompt in variant.prompts:
            shown = adapter.image_prompts[prompt.id]
            if shown.shown is None or shown.shown.negative:
                continue
            if variant.is_guided(prompt):
                message = f"adapter {adapter.name}: guidance needs the negative embedding too"
                hint = "save [2, n, …] with the negative ones first, as `prepare_ip_adapter_image_embeds` returns it"
                with at(shown.origin):
                    raise WeightsError.of("E646", message, hint)


def _shown(
    reader: Reader, pictures: int, embeds: Sequence[tuple[InputAddress, AnySource]], label: str
) -> ImagePromptShape | None:
    """How the adapter encodes its images; None if its file, or an embedding, is not on this machine."""
    shapes: list[tuple[str, Shape]] = []
    for file, source in embeds:
        if not isinstance(source, Source):
            return None
        shapes.append((file.address, embeds_shape(source.path(source.files[0].name), file.address)))
    if reader.layout is None:
        return None
    return check_image_prompt(reader.layout, pictures, shapes, label)


def _face_models() -> AnySource:
    try:
        return find_face_models()
    except SourceMissing as error:
        return unresolved(error, Address(ADDRESS))


def _encoder(reader: Reader, shown: ImagePromptShape | None, label: str) -> ResolvedComponent | None:
    if shown is not None and shown.features is None:
        return None
    with at(reader.encoder_origin):
        try:
            encoder = reader.find_encoder()
        except WeightsError:
            if shown is None:
                # Without the adapter's own file, it is not known whether it needs an encoder.
                return None
            raise
        config = encoder_config(encoder, label)
        if config is not None and reader.layout is not None:
            check_encoder(reader.layout, config, label)
    return encoder
