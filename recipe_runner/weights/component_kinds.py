"""What a class of diffusers or transformers is, by its name."""

from __future__ import annotations

_CLASSES: tuple[tuple[str, str], ...] = (
    ("ControlNet", "controlnet"), ("T2IAdapter", "t2i_adapter"), ("MotionAdapter", "motion_adapter"),
    ("Autoencoder", "vae"), ("VQModel", "vae"), ("ConsistencyDecoderVAE", "vae"), ("UNet", "unet"),
    ("Transformer", "transformer"), ("CLIPVision", "image_encoder"), ("SiglipVision", "image_encoder"),
    ("Dinov2", "image_encoder"), ("CLIPText", "text_encoder"), ("EncoderModel", "text_encoder"),
)  # fmt: skip
"""In this order: the first whose part is in the name says what it is."""


def kind_of_class(name: str | None) -> str | None:
    """The kind of component that a class is; None where its name does not tell."""
    if name is None:
        return None
    return next((kind for part, kind in _CLASSES if part in name), None)
