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
    for name in ("unet", "transformer"):
        part = parts.get(name)
        if part is None or channels is None:
            continue
        if "Flux" in part.class_name:
            # Flux packs 2x2 latents into one token.
            yield from _compare("vae", channels * 4, "packed latent channels", part, name, "in_channels")
        else:
            yield from _compare("vae", channels, "latent channels", part, name, "in_channels")


def _text(parts: Mapping[str, ComponentConfig]) -> Iterator[str]:
    """A UNet reads the features of all CLIP encoders, concatenated."""
    unet = parts.get("unet")
    if unet is not None and unet.config.get("encoder_hid_dim") is None:
        width = _sum(_encoders(parts), "hidden_size")
        yield from _compare("the text encoders", width, "features", unet, "unet", "cross_attention_dim")


def _joint(parts: Mapping[str, ComponentConfig]) -> Iterator[str]:
    """A transformer reads the features of T5, and the pooled features of all CLIP encoders."""
    transformer = parts.get("transformer")
    if transformer is None or "joint_attention_dim" not in transformer.config:
        return
    width = _sum(_t5(parts), "d_model")
    yield from _compare("the T5 encoder", width, "features", transformer, "transformer", "joint_attention_dim")
    clip = [part for part in _encoders(parts) if "d_model" not in part.config]
    width = _sum(clip, "projection_dim" if len(clip) > 1 else "hidden_size")
    yield from _compare(
        "the text encoders", width, "pooled features", transformer, "transformer", "pooled_projection_dim"
    )


def _encoders(parts: Mapping[str, ComponentConfig]) -> list[ComponentConfig]:
    return [parts[name] for name in ("text_encoder", "text_encoder_2") if name in parts]


def _t5(parts: Mapping[str, ComponentConfig]) -> list[ComponentConfig]:
    """The T5 encoder, if any: the third text encoder, or the second of a pipeline with two."""
    if "text_encoder_3" in parts:
        return [parts["text_encoder_3"]]
    return [part for part in _encoders(parts)[1:] if "d_model" in part.config]


def _sum(parts: Sequence[ComponentConfig], name: str) -> int | None:
    """The sum of one number over all components; None when there is no component, or one lacks the number."""
    numbers = [part.number(name) for part in parts]
    known = [number for number in numbers if number is not None]
    if not known or len(known) < len(numbers):
        return None
    return sum(known)


def _compare(source: str, width: int | None, unit: str, reader: ComponentConfig, name: str, key: str) -> Iterator[str]:
    """Yield a sentence if both widths are known and differ: what `source` gives, and what `reader` takes as `key`."""
    read = reader.number(key)
    if width is not None and read is not None and width != read:
        yield f"{source} and {name} do not fit: {width} {unit} from {source}, but {key} {read} in {name}"
