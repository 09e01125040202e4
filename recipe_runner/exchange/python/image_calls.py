"""How the pipelines of each family are called with IP-Adapters: what a script writes, and what diffusers cannot do.

A row for each family of `recipe_runner.weights.ip_adapter`, by its name.
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
    """What an adapter is shown: pictures as expressions, and embeddings with the shapes of their files.

    With `faces` insightface looks for faces in the pictures.
    """

    adapter: ResolvedIpAdapter
    pictures: Sequence[Code]
    embeds: Sequence[tuple[Code, Sequence[int]]]
    given: ResolvedImagePrompt

    @property
    def faces(self) -> bool:
        """Whether faces have to be found in the pictures."""
        return self.given.faces is not None


class Calls(Protocol):
    """The calls of one family."""

    @property
    def encoder(self) -> str:
        """The class of its image encoder."""

    @property
    def extractor(self) -> str | None:
        """The class of the preprocessor that a script has to name; None where diffusers makes one."""

    def load(
        self, roots: Sequence[object], folders: Sequence[object], files: Sequence[object]
    ) -> tuple[object, dict[str, object]]:
        """The arguments of `load_ip_adapter`, without those about an image encoder."""

    def without_encoder(self) -> dict[str, object]:
        """The argument of `load_ip_adapter` that keeps it from looking for an image encoder."""

    def scale(self, adapters: Sequence[tuple[ResolvedIpAdapter, IpAdapterLayout | None]]) -> object:
        """The argument of `set_ip_adapter_scale`."""

    def images(self, looks: Sequence[Look], variant: ResolvedVariant) -> dict[str, object]:
        """The arguments of the call that show them."""

    def limits(self, look: Look, layout: IpAdapterLayout | None, variant: ResolvedVariant) -> Iterator[str]:
        """Why diffusers cannot do what a run does."""


class UNetCalls:
    """`IPAdapterMixin`: lists for everything, one entry for each adapter."""

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
        """Pictures; where some come as embeddings, `images` for the script's function `shown`."""
        del variant
        if not any(look.embeds or look.faces for look in looks):
            return {"ip_adapter_image": [_one_or_all(look.pictures) for look in looks]}
        images: list[object] = []
        for look in looks:
            plus = look.given.encoder is not None
            shortcut = {"shortcut": look.adapter.shortcut}
            shortcut = shortcut if plus and (look.embeds or look.faces) else {}
            if look.faces:
                images.append(Code(call("faces", look.pictures, **shortcut)))
                continue
            patches = look.given.shown is not None and look.given.shown.patches
            dimensions = 4 if patches else 3
            holds = [_reshaped(code, shape, (1,) * (dimensions - len(shape))) for code, shape in look.embeds]
            image: dict[str, object] = {}
            image |= {"pictures": look.pictures} if look.pictures else {}
            image |= {"embeds": holds} if holds else {}
            images.append({**image, **shortcut})
        return {"images": images}

    def limits(self, look: Look, layout: IpAdapterLayout | None, variant: ResolvedVariant) -> Iterator[str]:
        """None that a script meets."""
        del look, layout, variant
        yield from ()


class FluxCalls:
    """`FluxIPAdapterMixin`: lists for each adapter; a scale is a number, or a list of one for each double block."""

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
        """One entry for each; a list of one number would be taken for one double block's."""
        scales = [_listed(adapter.scale, layout) for adapter, layout in adapters]
        return scales[0] if len(scales) == 1 else scales

    def images(self, looks: Sequence[Look], variant: ResolvedVariant) -> dict[str, object]:
        """Pictures, or embeddings and their negatives: without, the call would ask the image encoder for them."""
        del variant
        if not any(look.embeds for look in looks):
            return {"ip_adapter_image": [_one_or_all(look.pictures) for look in looks]}
        positive, negative = [], []
        for look in looks:
            whole = [_reshaped(code, shape, (1,) * (3 - len(shape))).text for code, shape in look.embeds]
            has = look.given.shown is not None and look.given.shown.negative
            positive.append(_joined([f"{each}[-1:]" for each in whole], 1))
            negative.append(_joined([f"{each}[:1]" for each in whole], 1) if has else positive[-1])
        return {"ip_adapter_image_embeds": positive, "negative_ip_adapter_image_embeds": negative}

    def limits(self, look: Look, layout: IpAdapterLayout | None, variant: ResolvedVariant) -> Iterator[str]:
        """Of the file's layout, and of pictures beside embeddings."""
        others = [adapter for adapter in variant.adapters if isinstance(adapter, ResolvedIpAdapter)]
        embeds = {bool(prompt.embeds) for adapter in others for prompt in adapter.image_prompts.values()}
        if len(embeds) > 1:
            yield "diffusers is shown pictures by all IP-Adapters of Flux, or embeddings by all"
        if layout is None:
            if isinstance(_listed(look.adapter.scale, None), Mapping):
                yield "not on this machine, so how many blocks its scale is for is not known"
            return
        rows = layout.tokens * layout.cross_width
        if layout.tokens != (_SIXTEEN if rows == _ROWS_OF_SIXTEEN else _FOUR):
            yield f"diffusers takes its {layout.tokens} tokens for {_FOUR}"
        if layout.naming == "xlabs" and not look.adapter.file_name.endswith(".safetensors"):
            yield "diffusers reads XLabs' names in .safetensors files alone"


class Sd3Calls:
    """`SD3IPAdapterMixin`: one adapter, one scale, and one image where guidance is on."""

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
        """A picture or several, or an embedding, after its negative where guidance is on."""
        (look,) = looks
        if look.pictures:
            return {"ip_adapter_image": _one_or_all(look.pictures)}
        guided, dtype = variant.guides_any, variant.base.dtype
        parts = []
        for code, shape in look.embeds:
            # An array of three dimensions is a pair, of four has a dimension for its images.
            pair = len(shape) > 2 and shape[0] == 2  # noqa: PLR2004 - [patches, features], and a pair of them
            rows = 2 if pair else 1
            whole = f"{code.text}.reshape({rows}, -1, {shape[-2]}, {shape[-1]})"
            parts.append(whole if pair or not guided else f"torch.nn.functional.pad({whole}, (0, 0, 0, 0, 0, 0, 1, 0))")
        joined = _joined(parts, 1).text
        joined += ".flatten(0, 1)" if guided else "[-1]"
        return {"ip_adapter_image_embeds": Code(joined + (f".to(torch.{dtype})" if dtype != "float32" else ""))}

    def limits(self, look: Look, layout: IpAdapterLayout | None, variant: ResolvedVariant) -> Iterator[str]:
        """Of scale, images and guidance, and of the file's sizes."""
        scale = look.adapter.scale
        if isinstance(scale, Mapping):
            yield "diffusers has one scale for all blocks of Stable Diffusion 3"
        elif isinstance(scale, (int, float)) and scale < 0 and look.pictures:
            yield "diffusers ignores a picture for Stable Diffusion 3 at a scale below 0"
        if look.given.count > 1 and variant.guides_any:
            yield "diffusers shows Stable Diffusion 3 one image where guidance is on"
        if variant.sampling.get("skip_guidance_layers"):
            yield "diffusers' skip-layer guidance shows the negative image prompt too"
        sizes = None if layout is None else layout.sizes.resampler
        if sizes is not None and (sizes.depth, sizes.hidden) != (_DEPTH, _RATIO * sizes.width):
            yield f"diffusers takes its resampler for one of {_DEPTH} layers"


CALLS: Mapping[str, Calls] = {UNET.name: UNetCalls(), FLUX.name: FluxCalls(), SD3.name: Sd3Calls()}


def load_call(calls: Calls, roots: Sequence[object], names: Sequence[tuple[str, str]], more: dict[str, object]) -> str:
    """The statement that loads IP-Adapters from `roots`, with a folder and a file's name for each."""
    first, named = calls.load(roots, [folder for folder, _ in names], [name for _, name in names])
    return call("pipeline.load_ip_adapter", first, **{k: v for k, v in named.items() if v is not None}, **more)


def _one_or_all(pictures: Sequence[Code]) -> object:
    return pictures[0] if len(pictures) == 1 else list(pictures)


def _reshaped(code: Code, shape: Sequence[int], before: tuple[int, ...]) -> Code:
    return Code(f"{code.text}.reshape{(*before, *shape)}") if before else code


def _joined(parts: Sequence[str], dimension: int) -> Code:
    return Code(parts[0] if len(parts) == 1 else f"torch.cat([{', '.join(parts)}], dim={dimension})")


def _listed(scale: Json, layout: IpAdapterLayout | None) -> object:
    """The scale of each double block; a number as it is, and a mapping where their number is not known."""
    if not isinstance(scale, Mapping):
        return scale
    if layout is None:
        (whole,) = scale.values() if len(scale) == 1 else (None,)
        return whole if isinstance(whole, (int, float, list, tuple)) else scale
    modules = {f"transformer_blocks.{number}.attn.to_k": (width, width) for number, width in layout.attentions.items()}
    places = layout.family.places(modules)
    return list(expand_ip_scale(scale, places, modules, label="adapter").values())
