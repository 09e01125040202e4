"""Check that the components of a pipeline fit each other, from their configurations alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class ComponentConfig:
    """A component: its class and its configuration. Values that the configuration lacks are not compared."""

    class_name: str
    config: Mapping[str, Any]

    def number(self, name: str) -> int | None:
        """An integer of the configuration; None when it is missing or of another type."""
        value = self.config.get(name)
        if isinstance(value, int) and not isinstance(value, bool):
            return value
        return None


def misfits(parts: Mapping[str, ComponentConfig]) -> Iterator[str]:
    """Yield a sentence for each pair of components whose widths differ.

    Latents and embeddings are compared with what the denoiser reads. Other architectures have checks of their own.
    """
    yield from _latents(parts)
    yield from _text(parts)
    yield from _joint(parts)


def _latents(parts: Mapping[str, ComponentConfig]) -> Iterator[str]:
    """The denoiser reads the latents of the VAE."""
    vae = parts.get("vae")
    channels = vae.number("latent_channels") if vae is not None else None
    if channels is None:
        return
    for name in ("unet", "transformer"):
        part = parts.get(name)
        if part is None:
            continue
        # Flux packs 2x2 latents into one token.
        packed = 4 if "Flux" in part.class_name else 1
        read = part.number("in_channels")
        if read is not None and read != channels * packed:
            yield _misfit("vae", f"{channels} latent channels", name, f"{read} input channels")


def _text(parts: Mapping[str, ComponentConfig]) -> Iterator[str]:
    """A UNet reads the features of all CLIP encoders, concatenated."""
    unet = parts.get("unet")
    if unet is None or unet.config.get("encoder_hid_dim") is not None:
        return
    width = _sum(_encoders(parts), "hidden_size")
    read = unet.number("cross_attention_dim")
    if width is not None and read is not None and read != width:
        yield _misfit("the text encoders", f"{width} features", "unet", f"cross_attention_dim {read}")


def _joint(parts: Mapping[str, ComponentConfig]) -> Iterator[str]:
    """A transformer reads the features of T5, and the pooled features of all CLIP encoders."""
    transformer = parts.get("transformer")
    if transformer is None or "joint_attention_dim" not in transformer.config:
        return
    t5 = _t5(parts)
    width = t5.number("d_model") if t5 is not None else None
    read = transformer.number("joint_attention_dim")
    if width is not None and read is not None and read != width:
        yield _misfit("the T5 encoder", f"{width} features", "transformer", f"joint_attention_dim {read}")
    clip = [part for part in _encoders(parts) if "d_model" not in part.config]
    width = _sum(clip, "projection_dim" if len(clip) > 1 else "hidden_size")
    read = transformer.number("pooled_projection_dim")
    if width is not None and read is not None and read != width:
        yield _misfit("the text encoders", f"{width} pooled features", "transformer", f"pooled_projection_dim {read}")


def _encoders(parts: Mapping[str, ComponentConfig]) -> list[ComponentConfig]:
    return [parts[name] for name in ("text_encoder", "text_encoder_2") if name in parts]


def _t5(parts: Mapping[str, ComponentConfig]) -> ComponentConfig | None:
    """The T5 encoder: the third text encoder, or the second of a pipeline with two."""
    if "text_encoder_3" in parts:
        return parts["text_encoder_3"]
    encoders = _encoders(parts)
    if len(encoders) > 1 and "d_model" in encoders[1].config:
        return encoders[1]
    return None


def _sum(parts: Sequence[ComponentConfig], name: str) -> int | None:
    """The sum of one number over all components; None when there is no component, or one lacks the number."""
    numbers = [part.number(name) for part in parts]
    known = [number for number in numbers if number is not None]
    if not known or len(known) < len(numbers):
        return None
    return sum(known)


def _misfit(left: str, gives: str, right: str, takes: str) -> str:
    return f"{left} and {right} do not fit: {gives} from {left}, but {takes} in {right}"
