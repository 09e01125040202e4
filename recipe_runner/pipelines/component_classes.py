"""The kind and the family of a diffusers or transformers class, by its name."""

from __future__ import annotations

from recipe_runner.pipelines.family import SD3, SDXL

_CLASSES: tuple[tuple[str, str], ...] = (
    ("ControlNet", "controlnet"), ("T2IAdapter", "t2i_adapter"), ("MotionAdapter", "motion_adapter"),
    ("Autoencoder", "vae"), ("VQModel", "vae"), ("ConsistencyDecoderVAE", "vae"), ("UNet", "unet"),
    ("Transformer", "transformer"), ("CLIPVision", "image_encoder"), ("SiglipVision", "image_encoder"),
    ("Dinov2", "image_encoder"), ("CLIPText", "text_encoder"), ("EncoderModel", "text_encoder"),
)  # fmt: skip
"""Part of a class name, and the kind. The first that matches is the answer."""

_FAMILIES: tuple[tuple[str, str], ...] = (
    ("StableDiffusionXL", SDXL.name), ("StableDiffusion3", SD3.name),
    ("StableVideoDiffusion", "svd"), ("StableCascade", "cascade"), ("SD3", "sd3"), ("Flux3", "flux3"),
    ("Flux2", "flux2"),
    ("Flux", "flux1"), ("Chroma", "chroma"), ("QwenImage21", "qwen-image-2.1"), ("QwenImage", "qwen-image"),
    ("ZImage", "z-image"), ("Wan", "wan"), ("HunyuanVideo15", "hunyuan-video-1.5"), ("HunyuanVideo", "hunyuan-video"),
    ("HunyuanImage", "hunyuan-image"), ("HunyuanDiT", "hunyuan-dit"), ("LTX2", "ltx2"), ("LTX", "ltx"),
    ("Lumina2", "lumina2"), ("AuraFlow", "auraflow"), ("PixArt", "pixart"), ("Sana", "sana"),
    ("CogVideoX", "cogvideox"),
    ("CogView", "cogview"), ("Kandinsky5", "kandinsky"), ("Kandinsky6", "kandinsky"), ("Kandinsky", "kandinsky2"),
    ("HiDream", "hidream"), ("Mochi", "mochi"), ("Cosmos", "cosmos"), ("Kolors", "kolors"),
    ("AutoencoderDC", "sana"),
)  # fmt: skip
"""Start of a class name (after `AutoencoderKL`), and the family. The first that matches is the answer."""


def family_of_class(name: str | None) -> str | None:
    """The family that a diffusers class is made for; None when several families use it."""
    plain = (name or "").removeprefix("AutoencoderKL")
    return next((family for part, family in _FAMILIES if plain.startswith(part)), None)


def kind_of_class(name: str | None) -> str | None:
    """The kind of component that a class is; None when its name does not say."""
    if name is None:
        return None
    return next((kind for part, kind in _CLASSES if part in name), None)
