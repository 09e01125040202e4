"""The families of single-file checkpoints, as data: how each is recognised, and which components it contains."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from recipe_runner.pipelines.family import SD1, SD2, SDXL
from recipe_runner.weights.modules import Shape

UNET = "model.diffusion_model."
_LDM_CROSS = (
    f"{UNET}input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight",
    f"{UNET}input_blocks.2.1.transformer_blocks.0.attn2.to_k.weight",
    f"{UNET}input_blocks.4.1.transformer_blocks.0.attn2.to_k.weight",
)
_CONV_IN = f"{UNET}input_blocks.0.0.weight"
_IMAGE_CHANNELS = 4
_CHANNELS = {
    9: "it is an inpainting model (9 input channels), which needs an image and a mask",
    8: "it is an instruct-pix2pix model (8 input channels), which needs an image",
    5: "it is a depth model (5 input channels), which needs a depth image",
    7: "it is an upscaler (7 input channels), which needs an image",
}
_LDM_TEXT = ("cond_stage_model.",)
_LDM_VAE = ("first_stage_model.",)
_T5_NOTE = "its tokenizer for T5 cannot be shipped"


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """A family of single-file checkpoints.

    Attributes:
        name: the family's name.
        pipeline: the diffusers pipeline class.
        config: the configuration that this package ships, if any.
        components: component to the prefixes that its tensor names can have, longest first.
        keys: tensors any of which identifies the family.
        bare: whether the keys also count without the denoiser's prefix.
        cross_attention: for an LDM UNet, the width of the text features that it reads; it identifies the family.
        note: what a user should know about the family.
        refusal: why a file of the family cannot be a base; empty when it can.
    """

    name: str
    pipeline: str = ""
    config: str | None = None
    components: Mapping[str, tuple[str, ...]]
    keys: tuple[str, ...] = ()
    bare: bool = False
    cross_attention: int = 0
    note: str = ""
    refusal: str = ""

    def recognise(self, shapes: Mapping[str, Shape]) -> str | None:
        """None: not of this family. Empty: a base of this family. Else: why a file of this family cannot be a base."""
        if self.cross_attention:
            return self._recognise_unet(shapes)
        for key in self.keys:
            if key in shapes or (self.bare and key.removeprefix(UNET) in shapes):
                return self.refusal
        return None

    def _recognise_unet(self, shapes: Mapping[str, Shape]) -> str | None:
        key = next((key for key in _LDM_CROSS if key in shapes), None)
        if key is None or shapes[key][-1:] != (self.cross_attention,):
            return None
        read = shapes.get(_CONV_IN, (0, _IMAGE_CHANNELS))
        channels = read[1] if len(read) > 1 else 0
        if channels == _IMAGE_CHANNELS:
            return self.refusal
        return _CHANNELS.get(channels, f"its UNet has {channels} input channels, not 4")

    def component_of(self, key: str) -> tuple[str, str]:
        """The component that a tensor belongs to, and the prefix of its name; two empty strings for no component."""
        for component, prefixes in self.components.items():
            for prefix in prefixes:
                if key.startswith(prefix):
                    return component, prefix
        if self.bare and UNET not in key:
            return "transformer", ""
        return "", ""


def _transformer_family(name: str, pipeline: str, key: str, *, note: str = "", refusal: str = "") -> Family:
    return Family(
        name=name,
        pipeline=pipeline,
        keys=(f"{UNET}{key}",),
        bare=True,
        components={
            "vae": ("first_stage_model.", "vae."),
            "text_encoder": ("text_encoders.clip_l.",),
            "text_encoder_2": ("text_encoders.clip_g.", "text_encoders.t5xxl."),
            "transformer": (UNET,),
        },
        note=note,
        refusal=refusal,
    )


FAMILIES: tuple[Family, ...] = (
    Family(
        name=SD1.name,
        pipeline="StableDiffusionPipeline",
        config=SD1.name,
        cross_attention=SD1.text_width,
        components={"unet": (UNET,), "vae": _LDM_VAE, "text_encoder": _LDM_TEXT},
    ),
    Family(
        name=SD2.name,
        pipeline="StableDiffusionPipeline",
        config=SD2.name,
        cross_attention=SD2.text_width,
        components={"unet": (UNET,), "vae": _LDM_VAE, "text_encoder": (*_LDM_TEXT, "conditioner.embedders.0.")},
    ),
    Family(
        name=SDXL.name,
        pipeline="StableDiffusionXLPipeline",
        config=SDXL.name,
        cross_attention=SDXL.text_width,
        components={
            "unet": (UNET,),
            "vae": _LDM_VAE,
            "text_encoder": ("conditioner.embedders.0.",),
            "text_encoder_2": ("conditioner.embedders.1.",),
        },
    ),
    Family(
        name="sdxl-refiner",
        cross_attention=1280,
        components={"unet": (UNET,), "vae": _LDM_VAE, "text_encoder_2": ("conditioner.embedders.0.",)},
        refusal="it is the SDXL refiner, which needs an image to start from",
    ),
    Family(
        name="sd3",
        pipeline="StableDiffusion3Pipeline",
        keys=(f"{UNET}joint_blocks.0.context_block.adaLN_modulation.1.bias",),
        bare=True,
        components={
            "vae": ("first_stage_model.", "vae."),
            "text_encoder": ("text_encoders.clip_l.",),
            "text_encoder_2": ("text_encoders.clip_g.",),
            "text_encoder_3": ("text_encoders.t5xxl.",),
            "transformer": (UNET,),
        },
        note=_T5_NOTE,
    ),
    _transformer_family("flux2", "Flux2Pipeline", "single_stream_modulation.lin.weight"),
    _transformer_family("chroma", "ChromaPipeline", "distilled_guidance_layer.in_proj.bias", note=_T5_NOTE),
    _transformer_family("flux1", "FluxPipeline", "double_blocks.0.img_attn.norm.key_norm.scale", note=_T5_NOTE),
    _transformer_family("z-image", "ZImagePipeline", "layers.0.adaLN_modulation.0.weight"),
    _transformer_family("lumina2", "Lumina2Pipeline", "cap_embedder.0.weight"),
    _transformer_family("qwen-image-2.1", "QwenImage21Pipeline", "txt_in.text_norm.weight"),
    _transformer_family("auraflow", "AuraFlowPipeline", "cond_seq_linear.weight"),
    _transformer_family("wan", "", "head.modulation", refusal="it is a Wan video model"),
    _transformer_family("ltx", "", "patchify_proj.weight", refusal="it is an LTX video model"),
    _transformer_family(
        "hunyuan-video",
        "",
        "txt_in.individual_token_refiner.blocks.0.adaLN_modulation.1.bias",
        refusal="it is a HunyuanVideo model",
    ),
)
"""In this order: the first that recognises a file is its family."""
