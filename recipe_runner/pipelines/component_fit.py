"""Do the parts of a pipeline fit each other? Asked of their configurations, without loading anything."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Part:
    """A component: the class that it is of, and its configuration; what that does not state is not compared."""

    class_name: str
    config: Mapping[str, Any]

    def number(self, name: str) -> int | None:
        """A whole number of the configuration."""
        value = self.config.get(name)
        return value if isinstance(value, int) and not isinstance(value, bool) else None


def misfits(parts: Mapping[str, Part]) -> Iterator[str]:
    """A sentence for each pair of parts whose widths differ: latents and embeddings against what the denoiser reads.

    An architecture with other names than these is left to its own checks.
    """
    yield from _latents(parts)
    yield from _text(parts)
    yield from _joint(parts)


def _latents(parts: Mapping[str, Part]) -> Iterator[str]:
    vae = parts.get("vae")
    channels = vae.number("latent_channels") if vae is not None else None
    for name in ("unet", "transformer"):
        part = parts.get(name)
        read = part.number("in_channels") if part is not None else None
        if part is None or channels is None or read is None:
            continue
        # Flux packs 2x2 latents into one token.
        if read != (channels * 4 if "Flux" in part.class_name else channels):
            yield _misfit("vae", f"{channels} latent channels", name, f"{read} input channels")


def _clip(parts: Mapping[str, Part]) -> list[Part]:
    return [parts[name] for name in ("text_encoder", "text_encoder_2") if name in parts]


def _text(parts: Mapping[str, Part]) -> Iterator[str]:
    """CLIP's features side by side are what a UNet reads."""
    unet, clip = parts.get("unet"), _clip(parts)
    if unet is None or not clip or unet.config.get("encoder_hid_dim") is not None:
        return
    widths = [part.number("hidden_size") for part in clip]
    read = unet.number("cross_attention_dim")
    if read is not None and None not in widths and read != (width := sum(filter(None, widths))):
        yield _misfit("the text encoders", f"{width} features", "unet", f"cross_attention_dim {read}")


def _joint(parts: Mapping[str, Part]) -> Iterator[str]:
    """A transformer reads T5's features, and CLIP's pooled ones."""
    transformer, clip = parts.get("transformer"), _clip(parts)
    if transformer is None or "joint_attention_dim" not in transformer.config:
        return
    third = parts.get("text_encoder_3")
    wide = third if third is not None else clip[-1] if len(clip) > 1 and "d_model" in clip[-1].config else None
    width = wide.number("d_model") if wide is not None else None
    read = transformer.number("joint_attention_dim")
    if width is not None and read is not None and width != read:
        yield _misfit("the T5 encoder", f"{width} features", "transformer", f"joint_attention_dim {read}")
    pooled = [part for part in clip if "d_model" not in part.config]
    sizes = [part.number("projection_dim" if len(pooled) > 1 else "hidden_size") for part in pooled]
    read = transformer.number("pooled_projection_dim")
    if pooled and read is not None and None not in sizes and read != (width := sum(filter(None, sizes))):
        yield _misfit("the text encoders", f"{width} pooled features", "transformer", f"pooled_projection_dim {read}")


def _misfit(left: str, gives: str, right: str, takes: str) -> str:
    return f"{left} and {right} do not fit: {left} has {gives}, {right} has {takes}"
