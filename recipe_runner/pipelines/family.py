"""One row for each family of models, and one for each pipeline whose steps are known.

Other tables (how files are recognised, how adapters are laid out) have rows under the names of the families here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFamily:
    """A family of models with the same sizes, so that adapters and components fit all of them.

    Attributes:
        name: the name of the family in output and in tables.
        text_width: features of the text that its UNet attends to; 0 for a transformer.
        vae_scaling: `scaling_factor` of its published VAE.
        repository: the repository with the components that a single file lacks; empty if this package does not ship
            their configurations.
    """

    name: str
    text_width: int = 0
    vae_scaling: float
    repository: str = ""


SD1 = ModelFamily(
    name="sd1", text_width=768, vae_scaling=0.18215, repository="stable-diffusion-v1-5/stable-diffusion-v1-5"
)
SD2 = ModelFamily(name="sd2", text_width=1024, vae_scaling=0.18215, repository="stabilityai/stable-diffusion-2-1")
SDXL = ModelFamily(
    name="sdxl", text_width=2048, vae_scaling=0.13025, repository="stabilityai/stable-diffusion-xl-base-1.0"
)
SD3 = ModelFamily(name="sd3", vae_scaling=1.5305)
FLUX1 = ModelFamily(name="flux1", vae_scaling=0.3611)

MODEL_FAMILIES = (SD1, SD2, SDXL, SD3, FLUX1)
UNET_FAMILIES = tuple(family for family in MODEL_FAMILIES if family.text_width)
"""Families that are known by the text width of their UNet, and whose configurations this package ships."""


def family_of_text_width(width: int) -> ModelFamily | None:
    """The family whose UNet attends to text of `width` features."""
    return next((family for family in UNET_FAMILIES if family.text_width == width), None)


def family_of_vae_scaling(factor: float) -> ModelFamily | None:
    """The first family whose VAE has this `scaling_factor`; SD 1 and 2 have the same."""
    return next((family for family in MODEL_FAMILIES if family.vae_scaling == factor), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineFamily:
    """A pipeline class whose call is known as three steps: encode, denoise, decode.

    Attributes:
        pipeline: exactly this diffusers class, because a subclass may change any step.
        denoiser: the component that denoises.
        prompts: how many prompts the class takes, one for each text encoder.
        embeddings: the call's arguments that its `encode_prompt` returns, in order.
        guidance: the argument of the call that turns on classifier-free guidance if it is above 1.
        guided_by_negative: whether guidance also needs a negative prompt; it is then on or off for a whole batch.
        t5_length: tokens that its T5 encoder reads by default; None without one.
        packed: whether the denoiser, unlike the VAE, takes patches of 2x2 latents.
        shifted: whether latents are shifted by the VAE's `shift_factor`.
        standardised: whether latents may be standardised by the VAE's `latents_mean` and `latents_std`.
        upcasts_vae: whether decoding in float16 casts the VAE to float32 if its configuration says so.
        size_from_denoiser: whether the default image size is the denoiser's `sample_size`, in both dimensions.
        checks_safety: whether a safety checker may make images black.
        latent_node: the ComfyUI node that makes its empty latents.
    """

    pipeline: str
    denoiser: Literal["unet", "transformer"]
    prompts: int
    embeddings: tuple[str, ...]
    guidance: Literal["guidance_scale", "true_cfg_scale"] = "guidance_scale"
    guided_by_negative: bool = False
    t5_length: int | None = None
    packed: bool = False
    shifted: bool = False
    standardised: bool = False
    upcasts_vae: bool = False
    size_from_denoiser: bool = False
    checks_safety: bool = False
    latent_node: str


_POOLED = ("prompt_embeds", "negative_prompt_embeds", "pooled_prompt_embeds", "negative_pooled_prompt_embeds")

PIPELINE_FAMILIES: Mapping[str, PipelineFamily] = {
    row.pipeline: row
    for row in (
        PipelineFamily(
            pipeline="StableDiffusionPipeline",
            denoiser="unet",
            prompts=1,
            embeddings=_POOLED[:2],
            size_from_denoiser=True,
            checks_safety=True,
            latent_node="EmptyLatentImage",
        ),
        PipelineFamily(
            pipeline="StableDiffusionXLPipeline",
            denoiser="unet",
            prompts=2,
            embeddings=_POOLED,
            standardised=True,
            upcasts_vae=True,
            latent_node="EmptyLatentImage",
        ),
        PipelineFamily(
            pipeline="StableDiffusion3Pipeline",
            denoiser="transformer",
            prompts=3,
            embeddings=_POOLED,
            t5_length=256,
            shifted=True,
            latent_node="EmptySD3LatentImage",
        ),
        PipelineFamily(
            pipeline="FluxPipeline",
            denoiser="transformer",
            prompts=2,
            embeddings=("prompt_embeds", "pooled_prompt_embeds"),
            guidance="true_cfg_scale",
            guided_by_negative=True,
            t5_length=512,
            packed=True,
            shifted=True,
            latent_node="EmptySD3LatentImage",
        ),
    )
}
"""By pipeline class. Other pipelines are called from prompt to image in one step."""

_T5_LENGTH = 512


def t5_length(pipeline: str) -> int:
    """Tokens that the T5 encoder of a pipeline class reads by default; 512 for an unknown class."""
    family = PIPELINE_FAMILIES.get(pipeline)
    if family is None or family.t5_length is None:
        return _T5_LENGTH
    return family.t5_length
