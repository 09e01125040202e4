"""Say what to do with a weights file of another kind than the recipe states."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from recipe_runner.problems.problem import WeightsError
from recipe_runner.weights.files.contents import Contents

_OTHER_KIND = ("E602", "E621", "E640")
"""The problems that a file of another kind can cause."""
_PLACES = {
    "lora": "a LoRA: use `kind: lora`",
    "lycoris": "a LyCORIS file: use `kind: lora`",
    "textual_inversion": "a textual inversion: use `kind: textual_inversion`",
    "ip_adapter": "an IP-Adapter: use `kind: ip_adapter`",
    "checkpoint": "a whole checkpoint: name it as `base.model`",
    "unet": "a UNet alone: name it under `base.components.unet`",
    "transformer": "a transformer alone: name it under `base.components.transformer`",
    "vae": "a VAE alone: name it under `base.components.vae`",
    "text_encoder": "a text encoder alone: name it under `base.components`",
    "image_encoder": "an image encoder: name it as `image_encoder` of an adapter of kind ip_adapter",
    "controlnet": "a ControlNet, which recipes do not support",
    "t2i_adapter": "a T2I-Adapter, which recipes do not support",
    "hypernetwork": "a hypernetwork, which recipes do not support",
    "motion_adapter": "a motion module, which recipes do not support",
    "upscaler": "an upscaler, which recipes do not support",
}


@contextmanager
def suggest_other_kind(contents: Contents, kind: str) -> Iterator[None]:
    """If the block raises because the file is of another kind than `kind`, say in the hint which kind it is."""
    try:
        yield
    except WeightsError as error:
        if error.problems[0].code not in _OTHER_KIND:
            raise
        # Imported only here, so that a file without problems is read fast.
        from recipe_runner.weights.identify.identity import identify_contents  # noqa: PLC0415

        found = identify_contents("", contents).kind
        if found not in _PLACES or f"`kind: {kind}`" in _PLACES[found]:
            raise
        hint = f"this is {_PLACES[found]}"
        problems = [replace(problem, hint=hint) for problem in error.problems]
        raise type(error)(*problems).on(*error.about) from error
