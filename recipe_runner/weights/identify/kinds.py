"""The kinds of weights files, in the order in which they are tried.

Every kind is tried; the first match decides, and the reasons of all are kept.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from recipe_runner.weights.identify import control, denoiser, embedding, encoders, ip_adapter, lora, upscaler, vae
from recipe_runner.weights.identify.evidence import Evidence
from recipe_runner.weights.identify.verdict import Verdict

Look = Callable[[Evidence], Verdict]

KINDS: Mapping[str, Look] = {
    "textual_inversion": embedding.look,
    "ip_adapter": ip_adapter.look,
    "hypernetwork": control.look_hypernetwork,
    "controlnet": control.look_controlnet,
    "t2i_adapter": control.look_t2i_adapter,
    "lora": lora.look,
    "motion_adapter": control.look_motion,
    "checkpoint": denoiser.look_checkpoint,
    "unet": denoiser.look_unet,
    "transformer": denoiser.look_transformer,
    "image_encoder": encoders.look_image,
    "text_encoder": encoders.look_text,
    "vae": vae.look,
    "upscaler": upscaler.look,
}
