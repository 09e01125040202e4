"""The kinds of weights files: one small module each, asked in this order.

All are asked; the first match is what the file is, and every reason is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from recipe_runner.weights.identify import control as steering
from recipe_runner.weights.identify import denoiser, embedding, encoders, ip_adapter, lora, upscaler, vae
from recipe_runner.weights.identify.evidence import Evidence
from recipe_runner.weights.identify.verdict import Verdict

Look = Callable[[Evidence], Verdict]

KINDS: Mapping[str, Look] = {
    "textual_inversion": embedding.look,
    "ip_adapter": ip_adapter.look,
    "hypernetwork": steering.look_hypernetwork,
    "controlnet": steering.look_controlnet,
    "t2i_adapter": steering.look_t2i_adapter,
    "lora": lora.look,
    "motion_adapter": steering.look_motion,
    "checkpoint": denoiser.look_checkpoint,
    "unet": denoiser.look_unet,
    "transformer": denoiser.look_transformer,
    "image_encoder": encoders.look_image,
    "text_encoder": encoders.look_text,
    "vae": vae.look,
    "upscaler": upscaler.look,
}
