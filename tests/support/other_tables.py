"""Key tables of files that no class of diffusers makes: embeddings, upscalers, quantised and foreign formats."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from support.ip_adapters import flux_shapes, sd3_shapes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from recipe_runner.weights.modules import Shape

Table = tuple[str, dict[str, Any], "dict[str, Shape]"]


def _esrgan_new() -> Iterator[tuple[str, Shape]]:
    yield "conv_first.weight", (64, 3, 3, 3)
    for block in range(23):
        for dense in (1, 2, 3):
            for number in range(1, 6):
                rows = 32 if number < 5 else 64
                yield f"body.{block}.rdb{dense}.conv{number}.weight", (rows, 64 + 32 * (number - 1), 3, 3)
                yield f"body.{block}.rdb{dense}.conv{number}.bias", (rows,)
    for name in ("conv_body", "conv_up1", "conv_up2", "conv_hr"):
        yield f"{name}.weight", (64, 64, 3, 3)
    yield "conv_last.weight", (3, 64, 3, 3)


def _esrgan_old() -> Iterator[tuple[str, Shape]]:
    yield "model.0.weight", (64, 3, 3, 3)
    for block in range(23):
        for dense in (1, 2, 3):
            yield f"model.1.sub.{block}.RDB{dense}.conv1.0.weight", (32, 64, 3, 3)
    for number in (3, 6, 8):
        yield f"model.{number}.weight", (64, 64, 3, 3)
    yield "model.10.weight", (3, 64, 3, 3)


def _compact() -> Iterator[tuple[str, Shape]]:
    yield "body.0.weight", (64, 3, 3, 3)
    yield "body.0.bias", (64,)
    for number in range(1, 66, 2):
        yield f"body.{number}.weight", (64,)
        if number < 65:
            yield f"body.{number + 1}.weight", (64, 64, 3, 3)
            yield f"body.{number + 1}.bias", (64,)
    yield "body.66.weight", (48, 64, 3, 3)
    yield "body.66.bias", (48,)


def _cloneofsimo() -> Iterator[tuple[str, Shape]]:
    widths = [(320, 320), (320, 768), (640, 640), (1280, 768)]
    for number in range(32):
        rows, columns = widths[number % 4]
        yield f"unet:{number}:up", (rows, 4)
        yield f"unet:{number}:down", (4, columns)


def _xlabs() -> Iterator[tuple[str, Shape]]:
    for number in range(19):
        for place in (1, 2):
            block = f"double_blocks.{number}.processor"
            yield f"{block}.qkv_lora{place}.down.weight", (16, 3072)
            yield f"{block}.qkv_lora{place}.up.weight", (9216, 16)
            yield f"{block}.proj_lora{place}.down.weight", (16, 3072)
            yield f"{block}.proj_lora{place}.up.weight", (3072, 16)


def _thelastben() -> Iterator[tuple[str, Shape]]:
    for name in ("input_blocks_4_1", "down_blocks_1_attentions_0"):
        for leaf, columns in (("attn1_to_q", 640), ("attn2_to_k", 2048)):
            stem = f"lora_unet_{name}_transformer_blocks_0_{leaf}"
            yield f"{stem}.lora_down.weight", (4, columns)
            yield f"{stem}.lora_up.weight", (640, 4)
            yield f"{stem}.alpha", ()


def _omi() -> Iterator[tuple[str, Shape]]:
    for number in range(38):
        stem = f"denoiser.single_blocks.{number}.linear1"
        yield f"{stem}.lora_down.weight", (16, 3072)
        yield f"{stem}.lora_up.weight", (21504, 16)
        yield f"{stem}.alpha", ()
    for number in range(12):
        stem = f"clip_l.text_model.encoder.layers.{number}.mlp.fc1"
        yield f"{stem}.lora_down.weight", (16, 768)
        yield f"{stem}.lora_up.weight", (3072, 16)
        yield f"{stem}.alpha", ()


def _lllite() -> Iterator[tuple[str, Shape]]:
    for number in (4, 5):
        stem = f"lllite_unet_input_blocks_{number}_1_transformer_blocks_0_attn1_to_q"
        yield f"{stem}.down.0.weight", (64, 640)
        yield f"{stem}.mid.0.weight", (64, 96)
        yield f"{stem}.up.0.weight", (640, 64)
        yield f"{stem}.conditioning1.0.weight", (16, 3, 4, 4)
    yield "lllite_unet_input_blocks_7_1_transformer_blocks_9_attn2_to_k.down.0.weight", (64, 2048)


def _control_lora() -> Iterator[tuple[str, Shape]]:
    yield "lora_controlnet", ()
    yield "input_hint_block.0.weight", (16, 3, 3, 3)
    for number in (4, 5, 7, 8):
        stem = f"input_blocks.{number}.1.transformer_blocks.0.attn2.to_k"
        yield f"{stem}.down", (128, 2048)
        yield f"{stem}.up", (640, 128)
    yield "zero_convs.0.0.weight", (320, 320, 1, 1)


def _hypernetwork() -> Iterator[tuple[str, Shape]]:
    for width in (320, 640, 768, 1280):
        for side in (0, 1):
            yield f"{width}.{side}.linear.0.weight", (2 * width, width)
            yield f"{width}.{side}.linear.0.bias", (2 * width,)
            yield f"{width}.{side}.linear.1.weight", (width, 2 * width)


def _nf4_flux() -> Iterator[tuple[str, Shape]]:
    for number in range(38):
        stem = f"model.diffusion_model.single_blocks.{number}.linear1.weight"
        yield stem, (33030144, 1)
        yield f"{stem}.absmax", (1032192,)
        yield f"{stem}.quant_map", (16,)
        yield f"{stem}.quant_state.bitsandbytes__nf4", (82,)
        yield f"model.diffusion_model.single_blocks.{number}.modulation.lin.weight", (9216, 3072)
        yield f"model.diffusion_model.single_blocks.{number}.norm.key_norm.scale", (128,)


def _instantx_flux() -> Iterator[tuple[str, Shape]]:
    for name, rows, columns in (("0", 2304, 1152), ("2", 128 * 4096, 2304)):
        yield f"image_proj.proj.{name}.weight", (rows, columns)
        yield f"image_proj.proj.{name}.bias", (rows,)
    yield "image_proj.norm.weight", (4096,)
    yield "image_proj.norm.bias", (4096,)
    for number in range(57):
        for letter in "kv":
            yield f"ip_adapter.{number}.to_{letter}_ip.weight", (3072, 4096)


OTHERS: dict[str, Table] = {
    "embedding-sd1-diffusers": ("diffusers", {"kind": "textual_inversion", "layout": "diffusers", "family": "sd1"},
                                {"<cat-toy>": (1, 768)}),
    "embedding-sd2-a1111": ("A1111", {"kind": "textual_inversion", "layout": "a1111", "family": "sd2"},
                            {"emb_params": (8, 1024)}),
    "embedding-sdxl": ("sd-scripts", {"kind": "textual_inversion", "layout": "kohya", "family": "sdxl"},
                       {"clip_l": (4, 768), "clip_g": (4, 1280)}),
    "upscaler-esrgan": ("Real-ESRGAN", {"kind": "upscaler", "variety": "ESRGAN", "family": None}, dict(_esrgan_new())),
    "upscaler-esrgan-old": ("ESRGAN as trainers of 2019 named it", {"kind": "upscaler", "variety": "ESRGAN"},
                            dict(_esrgan_old())),
    "upscaler-compact": ("SRVGGNetCompact", {"kind": "upscaler", "variety": "Compact (SRVGGNet)"}, dict(_compact())),
    "lora-sd1-cloneofsimo": ("cloneofsimo/lora", {"kind": "lora", "layout": "cloneofsimo", "family": "sd1"},
                             dict(_cloneofsimo())),
    "lora-flux1-xlabs": ("XLabs", {"kind": "lora", "layout": "xlabs", "family": "flux1"}, dict(_xlabs())),
    "lora-sdxl-thelastben": ("TheLastBen", {"kind": "lora", "layout": "thelastben", "family": "sdxl"},
                             dict(_thelastben())),
    "lora-flux1-omi": ("the Open Model Initiative's layout", {"kind": "lora", "layout": "omi", "family": "flux1"},
                       dict(_omi())),
    "controlnet-sdxl-lllite": ("ControlNet-LLLite", {"kind": "controlnet", "layout": "kohya", "variety": "lllite",
                                                     "family": "sdxl"}, dict(_lllite())),
    "controlnet-sdxl-lora": ("Stability's Control-LoRA", {"kind": "controlnet", "layout": "stability",
                                                          "variety": "control-lora", "family": "sdxl"},
                             dict(_control_lora())),
    "hypernetwork-sd1": ("A1111", {"kind": "hypernetwork", "layout": "a1111", "family": "sd1"}, dict(_hypernetwork())),
    "flux1-nf4": ("bitsandbytes nf4, as Forge reads it", {"kind": "transformer", "layout": "comfyui", "family": "flux1",
                                                          "variety": "bitsandbytes nf4"}, dict(_nf4_flux())),
    "ip-adapter-flux1-xlabs": ("XLabs-AI/flux-ip-adapter", {"kind": "ip_adapter", "layout": "xlabs", "family": "flux1",
                                                            "variety": "base"}, flux_shapes()),
    "ip-adapter-flux1-diffusers": ("diffusers' conversion of XLabs-AI/flux-ip-adapter-v2",
                                   {"kind": "ip_adapter", "layout": "diffusers", "family": "flux1", "variety": "base"},
                                   flux_shapes(tokens=16, xlabs=False)),
    "ip-adapter-flux1-instantx": ("InstantX's code for Flux", {"kind": "ip_adapter", "layout": "instantx",
                                                               "family": "flux1"}, dict(_instantx_flux())),
    "ip-adapter-sd3": ("InstantX/SD3.5-Large-IP-Adapter", {"kind": "ip_adapter", "layout": "instantx", "family": "sd3",
                                                           "variety": "plus"}, sd3_shapes()),
    "ip-adapter-sd3-diffusers": ("diffusers' SD3 loader", {"kind": "ip_adapter", "layout": "diffusers",
                                                           "family": "sd3", "variety": "plus"},
                                 sd3_shapes(translated=True)),
    "unknown-language-head": ("a network of another field", {"kind": "unknown", "layout": None, "family": None},
                              {"bert.pooler.dense.weight": (768, 768), "classifier.weight": (2, 768)}),
}  # fmt: skip
