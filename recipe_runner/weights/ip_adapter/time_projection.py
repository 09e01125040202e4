"""The tensors of the image projection for Stable Diffusion 3, a resampler that reads the timestep.

The class is diffusers' `IPAdapterTimeImageProjection`; the layouts those that `load_ip_adapter` reads
(`loaders/transformer_sd3.py`): InstantX's names, and the class's own. Here any depth and width is read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from recipe_runner.weights.ip_adapter.sizes import HEAD, Resampler, Sizes, TensorRow, depth, linear, norm, size
from recipe_runner.weights.modules import Shape

_INSTANTX = {
    "ln0": "0.norm1",
    "ln1": "0.norm2",
    "attn.to_q": "0.to_q",
    "attn.to_kv": "0.to_kv",
    "attn.to_out.0": "0.to_out",
    "adaln_norm": "1.0",
    "ff.net.0.proj": "1.1",
    "ff.net.2": "1.3",
    "adaln_proj": "2.1",
}
"""The names in a layer of InstantX's files, by those of diffusers' class."""
_SHIFTS = 4


def time_sizes(shapes: Mapping[str, Shape]) -> Sizes | None:
    """The sizes of the projection with these tensors (without the prefix `image_proj.`); None for another kind.

    Raises:
        NotThere: it lacks a tensor that its sizes are read from.
    """
    if "latents" not in shapes:
        return None
    translated = any(".attn." in key for key in shapes)
    query, hidden = "attn.to_q", "ff.net.0.proj"
    if not translated:
        query, hidden = _INSTANTX[query], _INSTANTX[hidden]
    return Sizes(
        variant="sd3",
        tokens=size(shapes, "latents", 1),
        image_width=size(shapes, "proj_in.weight", 1),
        face_width=None,
        cross_width=size(shapes, "proj_out.weight", 0),
        resampler=Resampler(
            depth=depth(shapes, "layers."),
            heads=size(shapes, f"layers.0.{query}.weight", 0) // HEAD,
            width=size(shapes, "proj_in.weight", 0),
            hidden=size(shapes, f"layers.0.{hidden}.weight", 0),
        ),
        timesteps=size(shapes, "time_embedding.linear_1.weight", 1),
        translated=translated,
    )


def time_rows(sizes: Sizes) -> Iterator[TensorRow]:
    """Every tensor of a projection of these sizes."""
    if sizes.resampler is None:
        message = "BUG: a projection for Stable Diffusion 3 without a resampler"
        raise AssertionError(message)
    width = sizes.resampler.width
    yield "latents", (1, sizes.tokens, width), ("latents",)
    yield from linear("proj_in", "proj_in", width, sizes.image_width or 0)
    yield from linear("proj_out", "proj_out", sizes.cross_width, width)
    yield from norm("norm_out", "norm_out", sizes.cross_width)
    yield from linear("time_embedding.linear_1", "time_embedding.linear_1", width, sizes.timesteps)
    yield from linear("time_embedding.linear_2", "time_embedding.linear_2", width, width)
    for number in range(sizes.resampler.depth):
        for name, shape, (parameter,) in _block(sizes.resampler):
            named, _, end = name.rpartition(".")
            key = name if sizes.translated else f"{_INSTANTX[named]}.{end}"
            yield f"layers.{number}.{key}", shape, (f"layers.{number}.{parameter}",)


def _block(sizes: Resampler) -> Iterator[TensorRow]:
    width, inner = sizes.width, sizes.heads * HEAD
    for name in ("ln0", "ln1", "adaln_norm"):
        yield from norm(name, name, width)
    yield from linear("adaln_proj", "adaln_proj", _SHIFTS * width, width)
    for name, shape in (
        ("attn.to_q", (inner, width)),
        ("attn.to_kv", (2 * inner, width)),
        ("attn.to_out.0", (width, inner)),
        ("ff.net.0.proj", (sizes.hidden, width)),
        ("ff.net.2", (width, sizes.hidden)),
    ):
        yield f"{name}.weight", shape, (f"{name}.weight",)
