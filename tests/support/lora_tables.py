"""LoRA files of every trainer's layout, at true size, made of the modules of whole models."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from recipe_runner.weights.modules import Shape

RANK = 16
_ATTENTION = r"attn\d?\.(?:to_[qkv]|to_out\.0|add_[qkv]_proj)$|attention\.(?:to_[qkv]|to_out\.0|to_query)$"


@dataclass(frozen=True)
class Build:
    """A file: `model` gives the modules that match `modules`; `name` spells each, `factors` makes its tensors."""

    model: str
    name: Callable[[str], str]
    factors: Callable[[str, Shape], dict[str, Shape]]
    modules: str = _ATTENTION


def _dotted(prefix: str) -> Callable[[str], str]:
    return lambda module: f"{prefix}{module}"


def _flat(prefix: str) -> Callable[[str], str]:
    return lambda module: prefix + module.replace(".", "_")


def _pair(down: str, up: str, *, alpha: bool = False, dora: bool = False) -> Callable[[str, Shape], dict[str, Shape]]:
    def factors(stem: str, weight: Shape) -> dict[str, Shape]:
        found: dict[str, Shape] = {
            stem + down: (RANK, *weight[1:]),
            stem + up: (weight[0], RANK, *(1 for _ in weight[2:])),
        }
        if alpha:
            found[f"{stem}.alpha"] = ()
        if dora:
            found[f"{stem}.dora_scale"] = (weight[0], *(1 for _ in weight[1:]))
        return found

    return factors


def _loha(stem: str, weight: Shape) -> dict[str, Shape]:
    columns = 1
    for size in weight[1:]:
        columns *= size
    halves = {f"{stem}.hada_w{n}_a": (weight[0], 8) for n in (1, 2)}
    return {**halves, **{f"{stem}.hada_w{n}_b": (8, columns) for n in (1, 2)}, f"{stem}.alpha": ()}


def _lokr(stem: str, weight: Shape) -> dict[str, Shape]:
    return {
        f"{stem}.lokr_w1": (16, 16),
        f"{stem}.lokr_w2_a": (weight[0] // 16, 8),
        f"{stem}.lokr_w2_b": (8, weight[1] // 16),
        f"{stem}.alpha": (),
    }


PEFT = _pair(".lora_A.weight", ".lora_B.weight")
OLD = _pair(".lora.down.weight", ".lora.up.weight")
KOHYA = _pair(".lora_down.weight", ".lora_up.weight", alpha=True)
KOHYA_DORA = _pair(".lora_down.weight", ".lora_up.weight", alpha=True, dora=True)
COMFY = _pair(".lora_down.weight", ".lora_up.weight")


def _processor(module: str) -> str:
    stem, _, last = module.rpartition(".attn")
    number, _, leaf = last.partition(".")
    return f"{stem}.attn{number}.processor.{leaf.replace('to_out.0', 'to_out')}_lora"


_BFL = (
    r"^(?:double_blocks\.\d+\.(?:img|txt)_(?:attn\.(?:qkv|proj)|mlp\.\d|mod\.lin)|"
    r"single_blocks\.\d+\.(?:linear[12]|modulation\.lin))$"
)
_CONVOLUTIONS = r"attn\d\.to_[qkv]$|\.conv[12]$|proj_in$|time_emb_proj$"


def _expect(kind: str, layout: str, family: str | None, **more: Any) -> dict[str, Any]:
    return {"kind": kind, "layout": layout, "family": family, **more}


LORAS: dict[str, tuple[str, dict[str, Any], Build]] = {
    "lora-sd1-diffusers": ("diffusers", _expect("lora", "diffusers", "sd1"), Build("sd1", _dotted("unet."), PEFT)),
    "lora-sd2-diffusers-old": (
        "diffusers 0.19",
        _expect("lora", "diffusers", "sd2"),
        Build("sd2", _dotted("unet."), OLD),
    ),
    "lora-sdxl-diffusers": ("diffusers", _expect("lora", "diffusers", "sdxl"), Build("sdxl", _dotted("unet."), PEFT)),
    "lora-sd1-processors": (
        "diffusers 0.12",
        _expect("lora", "diffusers", "sd1"),
        Build("sd1", _processor, _pair(".down.weight", ".up.weight")),
    ),
    "lora-sd1-peft": ("peft", _expect("lora", "peft", "sd1"), Build("sd1", _dotted("base_model.model."), PEFT)),
    "lora-sdxl-bare": (
        "UNet2DConditionModel.save_lora_adapter",
        _expect("lora", "peft", "sdxl"),
        Build("sdxl", _dotted(""), PEFT),
    ),
    "lora-sd1-kohya": ("sd-scripts", _expect("lora", "kohya", "sd1"), Build("sd1", _flat("lora_unet_"), KOHYA)),
    "lora-sd2-kohya": ("sd-scripts", _expect("lora", "kohya", "sd2"), Build("sd2", _flat("lora_unet_"), KOHYA)),
    "lora-sdxl-kohya": ("sd-scripts", _expect("lora", "kohya", "sdxl"), Build("sdxl", _flat("lora_unet_"), KOHYA)),
    "lora-sdxl-kohya-self-attention": (
        "sd-scripts, no cross-attention",
        _expect("lora", "kohya", "sdxl"),
        Build("sdxl", _flat("lora_unet_"), KOHYA, r"attn1\.to_[qkv]$"),
    ),
    "lora-sd1-kohya-dora": (
        "sd-scripts",
        _expect("lora", "kohya", "sd1", variety="dora"),
        Build("sd1", _flat("lora_unet_"), KOHYA_DORA),
    ),
    "lora-sd1-locon": (
        "sd-scripts with conv_dim",
        _expect("lora", "kohya", "sd1", variety="locon"),
        Build("sd1", _flat("lora_unet_"), KOHYA, _CONVOLUTIONS),
    ),
    "lycoris-sd1-loha": (
        "LyCORIS",
        _expect("lycoris", "kohya", "sd1", variety="loha"),
        Build("sd1", _flat("lora_unet_"), _loha),
    ),
    "lycoris-sdxl-lokr": (
        "LyCORIS",
        _expect("lycoris", "kohya", "sdxl", variety="lokr"),
        Build("sdxl", _flat("lora_unet_"), _lokr),
    ),
    "lycoris-sdxl-wrapper": (
        "LyCORIS as a library",
        _expect("lycoris", "lycoris", "sdxl", variety="lokr"),
        Build("sdxl", _flat("lycoris_"), _lokr),
    ),
    "lycoris-flux1-lokr": (
        "LyCORIS",
        _expect("lycoris", "lycoris", "flux1", variety="lokr"),
        Build("flux1", _flat("lycoris_"), _lokr),
    ),
    "lycoris-sd1-full": (
        "LyCORIS",
        _expect("lycoris", "kohya", "sd1", variety="full"),
        Build("sd1", _flat("lora_unet_"), lambda stem, weight: {f"{stem}.diff": weight}),
    ),
    "lora-flux1-diffusers": (
        "diffusers, ai-toolkit",
        _expect("lora", "diffusers", "flux1"),
        Build("flux1", _dotted("transformer."), PEFT),
    ),
    "lora-flux1-kohya": (
        "sd-scripts",
        _expect("lora", "kohya", "flux1"),
        Build("flux1-bfl", _flat("lora_unet_"), KOHYA, _BFL),
    ),
    "lora-flux1-bfl": (
        "Black Forest Labs' control LoRA",
        _expect("lora", "bfl", "flux1"),
        Build("flux1-bfl", _dotted(""), PEFT, _BFL),
    ),
    "lora-flux1-onetrainer": (
        "OneTrainer",
        _expect("lora", "onetrainer", "flux1", variety="dora"),
        Build("flux1", _flat("lora_transformer_"), KOHYA_DORA),
    ),
    "lora-flux1-comfyui": (
        "ComfyUI's LoraSave",
        _expect("lora", "comfyui", "flux1"),
        Build("flux1-bfl", _dotted("diffusion_model."), COMFY, _BFL),
    ),
    "lora-flux2-ai-toolkit": (
        "ai-toolkit",
        _expect("lora", "ai-toolkit", "flux2"),
        Build("flux2-bfl", _dotted("diffusion_model."), PEFT, _BFL),
    ),
    "lora-flux2-diffusers": (
        "diffusers",
        _expect("lora", "diffusers", "flux2"),
        Build("flux2", _dotted("transformer."), PEFT, r"attn\.to_(?:qkv_mlp_proj|q|k|v)$"),
    ),
    "lora-flux2-double-blocks": (
        "diffusers",
        _expect("lora", "diffusers", "flux2"),
        Build("flux2", _dotted("transformer."), PEFT, r"^transformer_blocks.*attn\.to_[qkv]$"),
    ),
    "lora-qwen-image-diffusers": (
        "diffusers",
        _expect("lora", "diffusers", "qwen-image"),
        Build("qwen-image", _dotted("transformer."), PEFT),
    ),
    "lora-qwen-image-ai-toolkit": (
        "ai-toolkit",
        _expect("lora", "ai-toolkit", "qwen-image"),
        Build("qwen-image", _dotted("diffusion_model."), PEFT, r"attn\.|img_mlp|txt_mlp"),
    ),
    "lora-z-image-diffusers": (
        "diffusers",
        _expect("lora", "diffusers", "z-image"),
        Build("z-image", _dotted("transformer."), PEFT),
    ),
    "lora-z-image-ai-toolkit": (
        "ai-toolkit",
        _expect("lora", "ai-toolkit", "z-image"),
        Build("z-image", _dotted("diffusion_model."), PEFT, r"^layers.*(?:attention\.to|feed_forward)"),
    ),
    "lora-wan-14b-diffusers": (
        "diffusers",
        _expect("lora", "diffusers", "wan"),
        Build("wan-14b", _dotted("transformer."), PEFT),
    ),
    "lora-krea2-kohya": (
        "sd-scripts",
        _expect("lora", "kohya", "krea2"),
        Build("krea2-original", _flat("lora_unet_"), KOHYA, "attn|mlp|first|tproj|projector|last"),
    ),
    "lora-krea2-diffusers": (
        "diffusers",
        _expect("lora", "diffusers", "krea2"),
        Build("krea2", _dotted("transformer."), PEFT, r"^transformer_blocks.*attn\.to_[qkv]$"),
    ),
    "lora-z-image-comfyui": (
        "ComfyUI's LoraSave",
        _expect("lora", "comfyui", "z-image"),
        Build("z-image-comfyui", _dotted("diffusion_model."), COMFY, r"attention\.(?:qkv|out)$|feed_forward"),
    ),
    "lora-lumina2-comfyui": (
        "ComfyUI's LoraSave",
        _expect("lora", "comfyui", "lumina2"),
        Build("lumina2-original", _dotted("diffusion_model."), COMFY, r"attention\.(?:qkv|out)$|feed_forward|adaLN"),
    ),
    "lora-hunyuan-video-kohya": (
        "musubi-tuner",
        _expect("lora", "kohya", "hunyuan-video"),
        Build(
            "hunyuan-video-original", _flat("lora_unet_"), KOHYA, r"_attn_(?:qkv|proj)$|mlp\.fc|linear\d$|_mod\.linear$"
        ),
    ),
    "lora-wan-14b-kohya": (
        "musubi-tuner",
        _expect("lora", "kohya", "wan"),
        Build("wan-14b-original", _flat("lora_unet_"), KOHYA, r"attn\.[qkvo]$|ffn\.\d$"),
    ),
    "lora-wan-1.3b-ai-toolkit": (
        "ai-toolkit",
        _expect("lora", "ai-toolkit", "wan"),
        Build("wan-1.3b-original", _dotted("diffusion_model."), PEFT, r"attn\.[qkvo]$"),
    ),
    "lora-hunyuan-video-diffusers": (
        "diffusers",
        _expect("lora", "diffusers", "hunyuan-video"),
        Build("hunyuan-video", _dotted("transformer."), PEFT, r"^(?:single_)?transformer_blocks.*attn\.to_[qkv]$"),
    ),
    "lora-sd3-diffusers": (
        "diffusers",
        _expect("lora", "diffusers", "sd3"),
        Build("sd3-medium", _dotted("transformer."), PEFT),
    ),
    "lora-sd3-large-kohya": (
        "sd-scripts",
        _expect("lora", "kohya", "sd3"),
        Build("sd3-medium-original", _flat("lora_unet_"), KOHYA, r"joint_blocks.*(?:qkv|proj|fc1)$"),
    ),
    "lora-ltx-diffusers": (
        "diffusers",
        _expect("lora", "diffusers", "ltx"),
        Build("ltx", _dotted("transformer."), PEFT),
    ),
    "lora-lumina2-diffusers": (
        "diffusers",
        _expect("lora", "diffusers", "lumina2"),
        Build("lumina2", _dotted("transformer."), PEFT, r"attn\.to_[qkv]$"),
    ),
    "lora-auraflow-diffusers": (
        "diffusers",
        _expect("lora", "diffusers", "auraflow"),
        Build("auraflow", _dotted("transformer."), PEFT),
    ),
    "lora-sana-diffusers": (
        "diffusers",
        _expect("lora", "diffusers", "sana"),
        Build("sana", _dotted("transformer."), PEFT),
    ),
    "lora-pixart-peft": (
        "peft",
        _expect("lora", "peft", "pixart"),
        Build("pixart", _dotted("base_model.model."), PEFT),
    ),
    "lora-cogvideox-diffusers": (
        "diffusers",
        _expect("lora", "diffusers", "cogvideox"),
        Build("cogvideox-5b", _dotted("transformer."), PEFT),
    ),
    "lora-mochi-diffusers": (
        "diffusers",
        _expect("lora", "diffusers", "mochi"),
        Build("mochi", _dotted("transformer."), PEFT),
    ),
    "lora-cogview4-diffusers": (
        "diffusers",
        _expect("lora", "diffusers", "cogview"),
        Build("cogview4", _dotted("transformer."), PEFT),
    ),
    "lora-hidream-diffusers": (
        "diffusers",
        _expect("lora", "diffusers", "hidream"),
        Build("hidream", _dotted("transformer."), PEFT, r"attn1\.to_[qkv]$"),
    ),
    "lora-kandinsky5-diffusers": (
        "diffusers",
        _expect("lora", "diffusers", "kandinsky"),
        Build("kandinsky5", _dotted("transformer."), PEFT, r"attention\.to_(?:query|key|value)$"),
    ),
}


def lora_shapes(models: Mapping[str, Mapping[str, Shape]], build: Build) -> dict[str, Shape]:
    """The tensors of a file."""
    found: dict[str, Shape] = {}
    for key, weight in models[build.model].items():
        module = key.removesuffix(".weight")
        if key.endswith(".weight") and len(weight) > 1 and re.search(build.modules, module):
            found |= build.factors(build.name(module), weight)
    if not found:
        message = f"no module of {build.model} matches {build.modules}"
        raise AssertionError(message)
    return found
