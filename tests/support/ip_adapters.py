"""IP-Adapter files in the layouts of h94/IP-Adapter and h94/IP-Adapter-FaceID, at any size, with random tensors.

The names of the tensors are written down here, and not asked of the package: this is what the files out there hold.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from recipe_runner.weights.modules import Shape

SD15_WIDTHS = (320, 320, 640, 640, 1280, 1280, 1280, 1280, 1280, 640, 640, 640, 320, 320, 320, 1280)
"""Widths of Stable Diffusion 1.5's cross-attentions in the files' order: down, up, middle."""


def _linear(name: str, rows: int, columns: int) -> dict[str, Shape]:
    return {f"{name}.weight": (rows, columns), f"{name}.bias": (rows,)}


def _norm(name: str, width: int) -> dict[str, Shape]:
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def _resampler(prefix: str, width: int, read: int, cross: int, heads: int, depth: int) -> dict[str, Shape]:
    found = _linear(f"{prefix}proj_in", width, read) | _linear(f"{prefix}proj_out", cross, width)
    found |= _norm(f"{prefix}norm_out", cross)
    for number in range(depth):
        layer = f"{prefix}layers.{number}"
        found |= _norm(f"{layer}.0.norm1", width) | _norm(f"{layer}.0.norm2", width)
        found |= {
            f"{layer}.0.to_q.weight": (heads * 64, width),
            f"{layer}.0.to_kv.weight": (heads * 128, width),
            f"{layer}.0.to_out.weight": (width, heads * 64),
            **_norm(f"{layer}.1.0", width),
            f"{layer}.1.1.weight": (width * 4, width),
            f"{layer}.1.3.weight": (width, width * 4),
        }
    return found


def projection_shapes(
    variant: str, *, cross: int, read: int, heads: int = 1, depth: int = 4, tokens: int = 4, face: int = 512
) -> dict[str, Shape]:
    """The tensors `image_proj.…` of a file: `read` is the width of the image encoder's features."""
    if variant == "base":
        found = _linear("proj", tokens * cross, read) | _norm("norm", cross)
    elif variant == "full":
        found = _linear("proj.0", read, read) | _linear("proj.2", cross, read) | _norm("proj.3", cross)
    elif variant == "plus":
        found = {"latents": (1, tokens, cross)} | _resampler("", cross, read, cross, heads, depth)
    else:
        found = _linear("proj.0", face * 2, face) | _linear("proj.2", tokens * cross, face * 2) | _norm("norm", cross)
        if variant == "faceid_plus":
            found |= _resampler("perceiver_resampler.", cross, read, cross, heads, depth)
    return {f"image_proj.{name}": shape for name, shape in found.items()}


def attention_shapes(widths: Sequence[int], cross: int) -> dict[str, Shape]:
    """The tensors `ip_adapter.N.to_k_ip.weight` and `to_v_ip`: N counts self-attentions too, so it is odd."""
    return {
        f"ip_adapter.{2 * index + 1}.to_{letter}_ip.weight": (width, cross)
        for index, width in enumerate(widths)
        for letter in "kv"
    }


def lora_shapes(widths: Sequence[int], cross: int, rank: int) -> dict[str, Shape]:
    """FaceID's bundled LoRA: every projection of every attention, self-attentions first."""
    found: dict[str, Shape] = {}
    for index, width in enumerate(widths):
        for number, read in ((2 * index, width), (2 * index + 1, cross)):
            for projection, columns in (("to_q", width), ("to_k", read), ("to_v", read), ("to_out", width)):
                name = f"ip_adapter.{number}.{projection}_lora"
                found |= {f"{name}.down.weight": (rank, columns), f"{name}.up.weight": (width, rank)}
    return found


def tensors_of(shapes: Mapping[str, Shape], seed: int, size: float = 0.3) -> dict[str, Any]:
    """Random tensors of these shapes; norms are near one."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    found = {}
    for name, shape in shapes.items():
        tensor = torch.randn(shape, generator=generator) * size
        found[name] = 1 + tensor if len(shape) == 1 and name.endswith(".weight") else tensor
    return found


def write_ip_adapter(path: Path, shapes: Mapping[str, Shape], seed: int = 0, size: float = 0.3) -> dict[str, Any]:
    """Write a safetensors file of these shapes; returns its tensors."""
    from safetensors.torch import save_file

    tensors = tensors_of(shapes, seed, size)
    save_file(tensors, path)
    return tensors


TINY = {"base": 24, "plus": 16, "full": 16, "faceid": 0, "faceid_plus": 16}
"""Features that the tiny adapters read of the tiny image encoder: its projection's, or its hidden states'."""


def build_image_encoder(folder: Path, seed: int = 7, *, projection: int = 24) -> Path:
    """Write a tiny CLIPVisionModelWithProjection: 16x16 pixels in patches of 8, 16 features, then `projection`."""
    import torch
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    config = CLIPVisionConfig(
        hidden_size=16,
        intermediate_size=32,
        projection_dim=projection,
        num_hidden_layers=3,
        num_attention_heads=4,
        image_size=16,
        patch_size=8,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        CLIPVisionModelWithProjection(config).save_pretrained(folder)
    return folder


def tiny_shapes(variant: str, unet: Any, *, lora: int = 0, tokens: int = 4, depth: int = 4) -> dict[str, Shape]:
    """An adapter for a tiny UNet; `lora` is the rank of a bundled LoRA."""
    names = list(unet.attn_processors)
    widths = [unet.get_submodule(name.removesuffix(".processor")).to_k.weight.shape[0] for name in names[1::2]]
    cross = unet.config.cross_attention_dim
    shapes = projection_shapes(variant, cross=cross, read=TINY[variant], depth=depth, tokens=tokens)
    return shapes | attention_shapes(widths, cross) | (lora_shapes(widths, cross, lora) if lora else {})


def write_picture(path: Path, seed: int, size: tuple[int, int] = (24, 20)) -> Path:
    """Write a picture of coloured noise, `size` being width and height."""
    import numpy as np
    from PIL import Image

    pixels = np.random.default_rng(seed).integers(0, 256, (size[1] // 4, size[0] // 4, 3), dtype=np.uint8)
    Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC).save(path)
    return path


def write_mask(path: Path, *, left: bool, size: tuple[int, int] = (16, 16)) -> Path:
    """Write a mask that is white in the left or the right half."""
    import numpy as np
    from PIL import Image

    pixels = np.zeros((size[1], size[0]), np.uint8)
    half = size[0] // 2
    pixels[:, slice(0, half) if left else slice(half, None)] = 255
    Image.fromarray(pixels).save(path)
    return path


def flux_shapes(*, blocks: int = 19, xlabs: bool = True, **sizes: int) -> dict[str, Shape]:
    """An adapter for Flux under XLabs' names, or under those that diffusers' conversion script writes."""
    found = {"hidden": 3072, "cross": 4096, "read": 768, "tokens": 4, **sizes}
    hidden, cross, read, tokens = (found[name] for name in ("hidden", "cross", "read", "tokens"))
    image = "ip_adapter_proj_model" if xlabs else "image_proj"
    shapes = _linear(f"{image}.proj", tokens * cross, read) | _norm(f"{image}.norm", cross)
    for number in range(blocks):
        for letter in "kv":
            ours, theirs = f"to_{letter}_ip", f"processor.ip_adapter_double_stream_{letter}_proj"
            name = f"double_blocks.{number}.{theirs}" if xlabs else f"ip_adapter.{number}.{ours}"
            shapes |= _linear(name, hidden, cross)
    return shapes


INSTANTX_LAYER = (
    ("0.norm1", "ln0"),
    ("0.norm2", "ln1"),
    ("0.to_q", "attn.to_q"),
    ("0.to_kv", "attn.to_kv"),
    ("0.to_out", "attn.to_out.0"),
    ("1.0", "adaln_norm"),
    ("1.1", "ff.net.0.proj"),
    ("1.3", "ff.net.2"),
    ("2.1", "adaln_proj"),
)
"""Names in a layer of InstantX's resampler for Stable Diffusion 3, and those of diffusers' class."""


SD3_SIZES = {
    "hidden": 2432, "head": 64, "width": 1280, "read": 1152, "heads": 20, "depth": 4, "tokens": 64, "times": 320,
}  # fmt: skip
"""Of InstantX/SD3.5-Large-IP-Adapter."""


def sd3_shapes(*, attentions: int = 38, translated: bool = False, **sizes: int) -> dict[str, Shape]:
    """An adapter for Stable Diffusion 3 under InstantX's names, or with those of diffusers' class in the resampler."""
    hidden, head, width, read, heads, depth, tokens, times = (SD3_SIZES | sizes).values()
    found = {"latents": (1, tokens, width)} | _linear("proj_in", width, read) | _linear("proj_out", hidden, width)
    found |= _norm("norm_out", hidden)
    found |= _linear("time_embedding.linear_1", width, times) | _linear("time_embedding.linear_2", width, width)
    for number in range(depth):
        named = {ours: f"layers.{number}.{ours if translated else theirs}" for theirs, ours in INSTANTX_LAYER}
        for ours in ("ln0", "ln1", "adaln_norm"):
            found |= _norm(named[ours], width)
        found |= _linear(named["adaln_proj"], 4 * width, width)
        found |= {
            f"{named['attn.to_q']}.weight": (heads * 64, width),
            f"{named['attn.to_kv']}.weight": (heads * 128, width),
            f"{named['attn.to_out.0']}.weight": (width, heads * 64),
            f"{named['ff.net.0.proj']}.weight": (width * 4, width),
            f"{named['ff.net.2']}.weight": (width, width * 4),
        }
    found = {f"image_proj.{name}": shape for name, shape in found.items()}
    for number in range(attentions):
        name = f"ip_adapter.{number}"
        found |= _linear(f"{name}.norm_ip.linear", 2 * hidden, width)
        found |= {f"{name}.to_{letter}_ip.weight": (hidden, hidden) for letter in "kv"}
        found |= {f"{name}.norm_{which}.weight": (head,) for which in ("q", "k", "ip_k")}
    return found


TINY_FLUX = {"hidden": 32, "cross": 32, "read": 24}
TINY_SD3 = {"hidden": 32, "head": 8, "width": 16, "read": 16, "heads": 1, "tokens": 4, "times": 8}
"""Sizes of the tiny transformers of `support.tiny`, and of the tiny image encoders."""


def build_siglip(folder: Path, seed: int = 8, size: int = 16) -> Path:
    """Write a tiny SiglipVisionModel with its preprocessor: 16x16 pixels in patches of 8, 16 features."""
    import torch
    from transformers import SiglipImageProcessor, SiglipVisionConfig, SiglipVisionModel

    config = SiglipVisionConfig(
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=3,
        num_attention_heads=4,
        image_size=size,
        patch_size=8,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        SiglipVisionModel(config).save_pretrained(folder)
    SiglipImageProcessor(size={"height": size, "width": size}).save_pretrained(folder)
    return folder
