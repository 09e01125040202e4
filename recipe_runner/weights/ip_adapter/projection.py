"""The tensors that the image projections for UNets and Flux have: key in the file, shape, parameters of the class.

The classes are those of `diffusers.models.embeddings`; the layouts those that `load_ip_adapter` reads
(`loaders/unet.py` and `loaders/transformer_flux.py`, `_convert_ip_adapter_image_proj_to_diffusers`), here for any
depth, width and number of tokens.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from recipe_runner.weights.ip_adapter.sizes import HEAD, Resampler, Sizes, TensorRow, depth, linear, norm, size
from recipe_runner.weights.ip_adapter.variants import FLUX
from recipe_runner.weights.modules import Shape

FACES = "perceiver_resampler."
"""Prefix of the resampler's tensors in a FaceID Plus file."""


def unet_sizes(shapes: Mapping[str, Shape]) -> Sizes | None:
    """The sizes of the projection with these tensors (without the prefix `image_proj.`); None for an unknown kind.

    Raises:
        NotThere: it is of a known kind and lacks a tensor that its sizes are read from.
    """
    if "proj.weight" in shapes:
        width = size(shapes, "norm.weight", 0)
        tokens = size(shapes, "proj.weight", 0) // max(width, 1)
        read = size(shapes, "proj.weight", 1)
        return Sizes(variant="base", tokens=tokens, image_width=read, face_width=None, cross_width=width)
    if "proj.3.weight" in shapes:
        return Sizes(
            variant="full",
            tokens=0,
            image_width=size(shapes, "proj.0.weight", 1),
            face_width=None,
            cross_width=size(shapes, "proj.3.weight", 0),
            hidden=size(shapes, "proj.0.weight", 0),
        )
    if f"{FACES}proj_in.weight" in shapes:
        return _face_plus(shapes)
    if "latents" in shapes:
        return Sizes(
            variant="plus",
            tokens=size(shapes, "latents", 1),
            image_width=size(shapes, "proj_in.weight", 1),
            face_width=None,
            cross_width=size(shapes, "proj_out.weight", 0),
            resampler=_resampler(shapes, "", size(shapes, "latents", 2)),
        )
    if "norm.weight" in shapes and "proj.0.weight" in shapes:
        width = size(shapes, "norm.weight", 0)
        return Sizes(
            variant="faceid",
            tokens=size(shapes, "proj.2.weight", 0) // max(width, 1),
            image_width=None,
            face_width=size(shapes, "proj.0.weight", 1),
            cross_width=width,
            hidden=size(shapes, "proj.0.weight", 0),
        )
    return None


def flux_sizes(shapes: Mapping[str, Shape]) -> Sizes | None:
    """The sizes of a projection for Flux, which is that of the base kind; None for another.

    Raises:
        NotThere: as `unet_sizes`.
    """
    if "proj.weight" not in shapes:
        return None
    width = size(shapes, "norm.weight", 0)
    tokens, read = size(shapes, "proj.weight", 0) // max(width, 1), size(shapes, "proj.weight", 1)
    return Sizes(variant=FLUX, tokens=tokens, image_width=read, face_width=None, cross_width=width)


def _face_plus(shapes: Mapping[str, Shape]) -> Sizes:
    width = size(shapes, f"{FACES}proj_in.weight", 0)
    return Sizes(
        variant="faceid_plus",
        tokens=size(shapes, "proj.2.weight", 0) // max(width, 1),
        image_width=size(shapes, f"{FACES}proj_in.weight", 1),
        face_width=size(shapes, "proj.0.weight", 1),
        cross_width=size(shapes, f"{FACES}proj_out.weight", 0),
        resampler=_resampler(shapes, FACES, width),
        hidden=size(shapes, "proj.0.weight", 0),
    )


def _resampler(shapes: Mapping[str, Shape], prefix: str, width: int) -> Resampler:
    start = f"{prefix}layers."
    return Resampler(
        depth=depth(shapes, start),
        heads=size(shapes, f"{start}0.0.to_q.weight", 0) // HEAD,
        width=width,
        hidden=size(shapes, f"{start}0.1.1.weight", 0),
    )


def rows(sizes: Sizes) -> Iterator[TensorRow]:
    """Every tensor of a projection of these sizes."""
    cross = sizes.cross_width
    hidden, read, face = sizes.hidden or 0, sizes.image_width or 0, sizes.face_width or 0
    if sizes.variant in ("base", FLUX):
        yield from linear("proj", "image_embeds", sizes.tokens * cross, read)
        yield from norm("norm", "norm", cross)
    elif sizes.variant == "full":
        # diffusers' class has as many features between its layers as it reads.
        yield from linear("proj.0", "ff.net.0.proj", read, read)
        yield from linear("proj.2", "ff.net.2", cross, read)
        yield from norm("proj.3", "norm", cross)
    elif sizes.variant == "faceid":
        yield from linear("proj.0", "ff.net.0.proj", hidden, face)
        yield from linear("proj.2", "ff.net.2", sizes.tokens * cross, hidden)
        yield from norm("norm", "norm", cross)
    if sizes.resampler is None:
        return
    width, prefix = sizes.resampler.width, ""
    if sizes.variant == "faceid_plus":
        prefix = FACES
        yield from linear("proj.0", "proj.net.0.proj", hidden, face)
        yield from linear("proj.2", "proj.net.2", sizes.tokens * width, hidden)
        yield from norm("norm", "norm", width)
    else:
        yield "latents", (1, sizes.tokens, width), ("latents",)
    yield from linear(f"{prefix}proj_in", "proj_in", width, read)
    yield from linear(f"{prefix}proj_out", "proj_out", cross, width)
    yield from norm(f"{prefix}norm_out", "norm_out", cross)
    for number in range(sizes.resampler.depth):
        yield from _block(f"{prefix}layers.{number}", f"layers.{number}", sizes.resampler)


def _block(key: str, name: str, sizes: Resampler) -> Iterator[TensorRow]:
    width, inner = sizes.width, sizes.heads * HEAD
    yield from norm(f"{key}.0.norm1", f"{name}.ln0", width)
    yield from norm(f"{key}.0.norm2", f"{name}.ln1", width)
    yield f"{key}.0.to_q.weight", (inner, width), (f"{name}.attn.to_q.weight",)
    yield f"{key}.0.to_kv.weight", (2 * inner, width), (f"{name}.attn.to_k.weight", f"{name}.attn.to_v.weight")
    yield f"{key}.0.to_out.weight", (width, inner), (f"{name}.attn.to_out.0.weight",)
    yield from norm(f"{key}.1.0", f"{name}.ff.0", width)
    yield f"{key}.1.1.weight", (sizes.hidden, width), (f"{name}.ff.1.net.0.proj.weight",)
    yield f"{key}.1.3.weight", (width, sizes.hidden), (f"{name}.ff.1.net.2.weight",)
