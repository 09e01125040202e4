"""The calls for IP-Adapters of each pipeline family, and what diffusers cannot do there.

`CALLS` has an entry for each family of `recipe_runner.weights.ip_adapter`, by its name.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from recipe_runner.exchange.python.code import Code, call
from recipe_runner.plan.resolved import ResolvedIpAdapter
from recipe_runner.weights.ip_adapter import IpAdapterLayout, expand_ip_scale
from recipe_runner.weights.ip_adapter.families import FLUX, SD3, UNET

if TYPE_CHECKING:
    from recipe_runner.canonical import Json
    from recipe_runner.plan.resolved import ResolvedImagePrompt
    from recipe_runner.plan.resolved_recipe import ResolvedVariant

_CLIP, _SIGLIP = "CLIPVisionModelWithProjection", "SiglipVisionModel"
_FOUR, _SIXTEEN, _ROWS_OF_SIXTEEN = 4, 16, 65536
_DEPTH, _RATIO = 4, 4


@dataclass(frozen=True, kw_only=True)
class Look:
    """The image prompt of an adapter: images as expressions, and embeddings with the shapes in their files.

    With `faces`, insightface finds the faces in the images.
    """

    adapter: ResolvedIpAdapter
    images: Sequence[Code]
    embeds: Sequence[tuple[Code, Sequence[int]]]
    given: ResolvedImagePrompt

    @property
    def faces(self) -> bool:
        """Whether insightface must find faces in the images."""
        return self.given.faces is not None


class Calls(Protocol):
    """The calls of one family."""

    @property
    def encoder(self) -> str:
        """The class of its image encoder."""

    @property
    def extractor(self) -> str | None:
        """The class of the preprocessor that the script must load; None when diffusers creates it."""

    def load(
        self, roots: Sequence[object], folders: Sequence[object], files: Sequence[object]
    ) -> tuple[object, dict[str, object]]:
        """The arguments of `load_ip_adapter`, without those for an image encoder."""

    def without_encoder(self) -> dict[str, object]:
        """The argument with which `load_ip_adapter` does not search an image encoder."""

    def scale(self, adapters: Sequence[tuple[ResolvedIpAdapter, IpAdapterLayout | None]]) -> object:
        """The argument of `set_ip_adapter_scale`."""

    def images(self, looks: Sequence[Look], variant: ResolvedVariant) -> dict[str, object]:
        """The arguments of the pipeline call with the image prompts."""

    def limits(
        self,
        adapter: ResolvedIpAdapter,
        given: ResolvedImagePrompt,
        layout: IpAdapterLayout | None,
        variant: ResolvedVariant,
    ) -> Iterator[str]:
        """Why diffusers cannot do what a run does."""


class UNetCalls:
    """`IPAdapterMixin`: all arguments are lists, with one entry for each adapter."""

    encoder, extractor = _CLIP, None

    def load(
        self, roots: Sequence[object], folders: Sequence[object], files: Sequence[object]
    ) -> tuple[object, dict[str, object]]:
        """Lists."""
        return roots, {"subfolder": folders, "weight_name": files}

    def without_encoder(self) -> dict[str, object]:
        """No folder."""
        return {"image_encoder_folder": None}

    def scale(self, adapters: Sequence[tuple[ResolvedIpAdapter, IpAdapterLayout | None]]) -> object:
        """The recipe's own numbers and mappings."""
        return [adapter.scale for adapter, _ in adapters]

    def images(self, looks: Sequence[Look], variant: ResolvedVariant) -> dict[str, object]:
        """Images; when some are embeddings, `images` for the script's function `shown`."""
        del variant
        if not any(look.embeds or look.faces for look in looks):
            return {"ip_adapter_image": [_one_or_all(look.images) for look in looks]}
        return {"images": [_unet_image(look) for look in looks]}

    def limits(
        self,
        adapter: ResolvedIpAdapter,
        given: ResolvedImagePrompt,
        layout: IpAdapterLayout | None,
        variant: ResolvedVariant,
    ) -> Iterator[str]:
        """None."""
        del adapter, given, layout, variant
        yield from ()


def _unet_image(look: Look) -> object:
    """An entry of `images` for the script's function `shown`."""
    image: dict[str, object] = {}
    if look.given.encoder is not None and (look.embeds or look.faces):
        image["shortcut"] = look.adapter.shortcut
    if look.faces:
        return Code(call("faces", look.images, **image))
    patches = look.given.shown is not None and look.given.shown.patches
    if look.embeds:
        dimensions = 4 if patches else 3
        image = {"embeds": [_reshaped(code, shape, dimensions) for code, shape in look.embeds], **image}
    if look.images:
        image = {"pictures": look.images, **image}
    return image


class FluxCalls:
    """`FluxIPAdapterMixin`: lists for each adapter; a scale is one number, or a list with one for each double block."""

    encoder, extractor = _CLIP, "CLIPImageProcessor"

    def load(
        self, roots: Sequence[object], folders: Sequence[object], files: Sequence[object]
    ) -> tuple[object, dict[str, object]]:
        """Lists."""
        return roots, {"subfolder": folders, "weight_name": files}

    def without_encoder(self) -> dict[str, object]:
        """No model."""
        return {"image_encoder_pretrained_model_name_or_path": None}

    def scale(self, adapters: Sequence[tuple[ResolvedIpAdapter, IpAdapterLayout | None]]) -> object:
        """One entry for each adapter; without a list for one adapter, because that would be one double block."""
        return _one_or_all([_listed(adapter.scale, layout) for adapter, layout in adapters])

    def images(self, looks: Sequence[Look], variant: ResolvedVariant) -> dict[str, object]:
        """Images, or embeddings with their negatives, for which the call would otherwise need the image encoder."""
        del variant
        if not any(look.embeds for look in looks):
            return {"ip_adapter_image": [_one_or_all(look.images) for look in looks]}
        positive, negative = [], []
        for look in looks:
            whole = [_reshaped(code, shape, 3).text for code, shape in look.embeds]
            last = _joined([f"{each}[-1:]" for each in whole])
            positive.append(last)
            if look.given.shown is not None and look.given.shown.negative:
                negative.append(_joined([f"{each}[:1]" for each in whole]))
            else:
                negative.append(last)
        return {"ip_adapter_image_embeds": positive, "negative_ip_adapter_image_embeds": negative}

    def limits(
        self,
        adapter: ResolvedIpAdapter,
        given: ResolvedImagePrompt,
        layout: IpAdapterLayout | None,
        variant: ResolvedVariant,
    ) -> Iterator[str]:
        """For the layout of the file, and for images together with embeddings."""
        del given
        if _mixes_embeddings(variant):
            yield "in diffusers, all IP-Adapters of Flux must have images, or all must have embeddings"
        if layout is None:
            if isinstance(_listed(adapter.scale, None), Mapping):
                yield "not on this machine, so the number of blocks for its scale is not known"
            return
        if layout.tokens != _assumed_tokens(layout):
            yield f"diffusers reads its {layout.tokens} tokens as {_FOUR}"
        if layout.naming == "xlabs" and not adapter.file_name.endswith(".safetensors"):
            yield "diffusers reads XLabs' names only in .safetensors files"


def _mixes_embeddings(variant: ResolvedVariant) -> bool:
    """Whether some image prompts of a variant have embeddings, and others do not."""
    found = set()
    for adapter in variant.adapters:
        if isinstance(adapter, ResolvedIpAdapter):
            for prompt in adapter.image_prompts.values():
                found.add(bool(prompt.embeds))
    return len(found) > 1


def _assumed_tokens(layout: IpAdapterLayout) -> int:
    """The number of tokens that diffusers takes for the file of a Flux adapter."""
    if layout.tokens * layout.cross_width == _ROWS_OF_SIXTEEN:
        return _SIXTEEN
    return _FOUR


class Sd3Calls:
    """`SD3IPAdapterMixin`: one adapter, one scale, and one image when guidance is on."""

    encoder, extractor = _SIGLIP, "SiglipImageProcessor"

    def load(
        self, roots: Sequence[object], folders: Sequence[object], files: Sequence[object]
    ) -> tuple[object, dict[str, object]]:
        """One of each."""
        return roots[0], {"subfolder": folders[0] or None, "weight_name": files[0]}

    def without_encoder(self) -> dict[str, object]:
        """No folder."""
        return {"image_encoder_folder": None}

    def scale(self, adapters: Sequence[tuple[ResolvedIpAdapter, IpAdapterLayout | None]]) -> object:
        """The number."""
        return adapters[0][0].scale

    def images(self, looks: Sequence[Look], variant: ResolvedVariant) -> dict[str, object]:
        """One or more images; or an embedding, after its negative when guidance is on."""
        (look,) = looks
        if look.images:
            return {"ip_adapter_image": _one_or_all(look.images)}
        guided, dtype = variant.guides_any, variant.base.dtype
        joined = _joined([_sd3_embedding(code, shape, guided=guided) for code, shape in look.embeds]).text
        joined += ".flatten(0, 1)" if guided else "[-1]"
        if dtype != "float32":
            joined += f".to(torch.{dtype})"
        return {"ip_adapter_image_embeds": Code(joined)}

    def limits(
        self,
        adapter: ResolvedIpAdapter,
        given: ResolvedImagePrompt,
        layout: IpAdapterLayout | None,
        variant: ResolvedVariant,
    ) -> Iterator[str]:
        """For scale, images and guidance, and for the sizes in the file."""
        if isinstance(adapter.scale, Mapping):
            yield "diffusers has only one scale for all blocks of Stable Diffusion 3"
        elif isinstance(adapter.scale, (int, float)) and adapter.scale < 0 and given.pictures:
            yield "diffusers ignores images for Stable Diffusion 3 at a scale below 0"
        if given.count > 1 and variant.guides_any:
            yield "diffusers takes only one image for Stable Diffusion 3 when guidance is on"
        if variant.sampling.get("skip_guidance_layers"):
            yield "skip-layer guidance of diffusers also uses the negative image prompt"
        if layout is not None and not _has_usual_resampler(layout):
            yield f"diffusers assumes a resampler of {_DEPTH} layers"


def _has_usual_resampler(layout: IpAdapterLayout) -> bool:
    sizes = layout.sizes.resampler
    return sizes is None or (sizes.depth, sizes.hidden) == (_DEPTH, _RATIO * sizes.width)


def _sd3_embedding(code: Code, shape: Sequence[int], *, guided: bool) -> str:
    """An embedding of shape [1 or 2, images, patches, features], with its negative first when guidance is on."""
    # A pair has at least three dimensions: itself, patches and features; with four, one is for the images.
    pair = len(shape) > 2 and shape[0] == 2  # noqa: PLR2004
    rows = 2 if pair else 1
    whole = f"{code.text}.reshape({rows}, -1, {shape[-2]}, {shape[-1]})"
    if pair or not guided:
        return whole
    return f"torch.nn.functional.pad({whole}, (0, 0, 0, 0, 0, 0, 1, 0))"


CALLS: Mapping[str, Calls] = {UNET.name: UNetCalls(), FLUX.name: FluxCalls(), SD3.name: Sd3Calls()}


def load_call(calls: Calls, roots: Sequence[object], names: Sequence[tuple[str, str]], more: dict[str, object]) -> str:
    """The statement that loads IP-Adapters from `roots`, with a folder and a file name for each."""
    first, named = calls.load(roots, [folder for folder, _ in names], [name for _, name in names])
    given = {name: value for name, value in named.items() if value is not None}
    return call("pipeline.load_ip_adapter", first, **given, **more)


def _one_or_all(values: Sequence[object]) -> object:
    if len(values) == 1:
        return values[0]
    return list(values)


def _reshaped(code: Code, shape: Sequence[int], dimensions: int) -> Code:
    """The tensor `code` of shape `shape`, with leading dimensions of size 1."""
    missing = dimensions - len(shape)
    if missing <= 0:
        return code
    sizes = ", ".join(map(str, [*[1] * missing, *shape]))
    return Code(f"{code.text}.reshape({sizes})")


def _joined(parts: Sequence[str]) -> Code:
    if len(parts) == 1:
        return Code(parts[0])
    return Code(f"torch.cat([{', '.join(parts)}], dim=1)")


def _listed(scale: Json, layout: IpAdapterLayout | None) -> object:
    """A scale as a list for the double blocks; a number unchanged, and a mapping when their number is not known."""
    if not isinstance(scale, Mapping):
        return scale
    if layout is None:
        whole = list(scale.values())
        if len(whole) == 1 and isinstance(whole[0], (int, float, list, tuple)):
            return whole[0]
        return scale
    modules = {f"transformer_blocks.{number}.attn.to_k": (width, width) for number, width in layout.attentions.items()}
    places = layout.family.places(modules)
    return list(expand_ip_scale(scale, places, modules, label="adapter").values())
