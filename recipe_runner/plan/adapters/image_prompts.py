"""What an IP-Adapter is shown for each prompt: the adapter's own pictures or embeddings, or the prompt's instead."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from recipe_runner.document.paths import format_path
from recipe_runner.images.read import check_picture
from recipe_runner.plan.adapters.image_encoder import encoder_config
from recipe_runner.plan.adapters.kind import Surroundings
from recipe_runner.plan.resolved import (
    AnySource,
    ResolvedComponent,
    ResolvedImagePrompt,
    ResolvedIpAdapter,
)
from recipe_runner.plan.resolved_recipe import ResolvedVariant
from recipe_runner.problems.place import Place
from recipe_runner.problems.problem import WeightsError, at
from recipe_runner.sources.face_models import ADDRESS, find_face_models
from recipe_runner.sources.inputs import find_input
from recipe_runner.sources.missing import SourceMissing, unresolved
from recipe_runner.sources.source import Source
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
    """An IP-Adapter, as far as it decides what it makes of pictures. `layout` is None while its file is not here."""

    name: str
    layout: IpAdapterLayout | None
    find_encoder: Callable[[], ResolvedComponent]
    encoder_origin: Place
    masks: int


@dataclass(frozen=True, kw_only=True)
class Given:
    """An address of a picture, or of an embedding if `embeds`, the path in the recipe that gives it, and its place."""

    address: str
    role: str
    origin: Place
    embeds: bool


def given(path: tuple[str | int, ...], value: str | Sequence[str] | None, origin: Place) -> tuple[Given, ...]:
    """The addresses that `value`, at `path` of the recipe, holds."""
    role = format_path(path)
    addresses = [] if value is None else [value] if isinstance(value, str) else value
    return tuple(
        Given(
            address=address,
            role=f"{role}[{index}]" if len(addresses) > 1 else role,
            origin=origin,
            embeds=path[-1] == "image_embeds" or (path[-1] != "mask" and is_embeds(address)),
        )
        for index, address in enumerate(addresses)
    )


def find_each(files: Sequence[Given], surroundings: Surroundings) -> list[AnySource]:
    """The source of each; what is a picture is read through once. A URL that was not fetched is left unresolved.

    Raises:
        RecipeRunnerError: E4xx, E648, at the place that names the file.
    """

    def find(file: Given) -> AnySource:
        try:
            source = find_input(file.address, surroundings.folder)
        except SourceMissing as error:
            return unresolved(error, address=file.address)
        if not file.embeds:
            check_picture(source.path(source.files[0].name), file.address)
        return source

    found = []
    for file in files:
        with at(file.origin):
            found.append(surroundings.once(("input", file.address, file.embeds), partial(find, file)))
    return found


def image_prompt(
    reader: Reader, files: Sequence[Given], surroundings: Surroundings, mask_origin: Place
) -> ResolvedImagePrompt:
    """Everything about what the adapter is shown for a prompt that gives it `files`, proved from headers.

    `mask_origin` is the place to blame when there are not as many masks as images.

    Raises:
        RecipeRunnerError: E4xx, E643 to E648; at the place in the recipe that is at fault.
    """
    found = find_each(files, surroundings)
    embeds = [(file, source) for file, source in zip(files, found, strict=True) if file.embeds]
    pictures = [(file, source) for file, source in zip(files, found, strict=True) if not file.embeds]
    label, origin = f"adapter {reader.name}", files[0].origin
    with at(origin):
        shown = _shown(reader, len(pictures), embeds, label)
        encoder = _encoder(reader, shown, label) if pictures else None
        finds_faces = shown is not None and shown.faces
        faces = surroundings.once(("face models",), _face_models) if finds_faces else None
    if reader.masks and shown is not None and reader.masks != shown.count:
        message = f"{label}: {reader.masks} mask{'s' * (reader.masks > 1)} for "
        message += f"{shown.count} image{'s' * (shown.count > 1)}"
        with at(mask_origin):
            raise WeightsError.of("E647", message, "give one mask for each image, in the same order")
    return ResolvedImagePrompt(
        name=reader.name,
        shown=shown,
        pictures=tuple(source for _, source in pictures),
        embeds=tuple(source for _, source in embeds),
        encoder=encoder,
        faces=faces,
        paths=tuple(file.role for file, _ in (*pictures, *embeds)),
        allow_pickle=surroundings.allow_pickle,
        origin=origin,
    )


def check_together(adapters: Sequence[ResolvedIpAdapter], variant: ResolvedVariant) -> None:
    """Whether `adapters`, which are shown something, act together with the base, prompts and sampling of `variant`.

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
                with at(shown.origin):
                    message = f"adapter {adapter.name}: guidance needs the negative embedding too"
                    hint = "save [2, n, …] with the negative ones first, as `prepare_ip_adapter_image_embeds` gives it"
                    raise WeightsError.of("E646", message, hint)


def _shown(
    reader: Reader, pictures: int, embeds: Sequence[tuple[Given, AnySource]], label: str
) -> ImagePromptShape | None:
    """What the adapter makes of them; None while its file, or an embedding, is not on this machine."""
    shapes: list[tuple[str, Shape]] = []
    for file, source in embeds:
        if not isinstance(source, Source):
            return None
        shapes.append((file.address, embeds_shape(source.path(source.files[0].name), file.address)))
    return None if reader.layout is None else check_image_prompt(reader.layout, pictures, shapes, label)


def _face_models() -> AnySource:
    try:
        return find_face_models()
    except SourceMissing as error:
        return unresolved(error, address=ADDRESS)


def _encoder(reader: Reader, shown: ImagePromptShape | None, label: str) -> ResolvedComponent | None:
    if shown is not None and shown.features is None:
        return None
    with at(reader.encoder_origin):
        try:
            encoder = reader.find_encoder()
        except WeightsError:
            if shown is None:
                # Whether it needs one is not known before its own file is here.
                return None
            raise
        config = encoder_config(encoder, label)
        if config is not None and reader.layout is not None:
            check_encoder(reader.layout, config, label)
    return encoder
