"""The `parameters` text that A1111, Forge, SD.Next and Civitai write and read.

Grammar and key order are those of A1111's `processing.create_infotext`, the quoting that of its `infotext_utils.quote`.

LoRAs are tags in the prompt, `<lora:name:scale>`, because nothing else in that grammar says that a LoRA was applied and
how strongly: A1111 then applies them when the text is pasted, and Civitai finds them. A LoRA with scale 0 is left out
(it changes no bit); one whose scale differs between blocks cannot be a tag and is only in `Lora hashes`. Image prompts
and merges have no counterpart in A1111, so they are named under a key of this package.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeGuard

from recipe_runner.images.sampler_names import sampler_name, schedule_type

if TYPE_CHECKING:
    from recipe_runner.canonical import Json

_MODEL_HASH = 10
_SHORT_HASH = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class UsedLora:
    """A LoRA that was applied. `autov3` is the sha256 of its safetensors file after the header; empty if not known.

    `scale` is a number, a mapping of components to numbers, or anything else for scales that differ between blocks.
    """

    name: str
    autov3: str
    scale: Json


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """How one image was made, as far as the text can say it.

    `clip_skip` counts as diffusers does: 1 is the layer before the last. `model_sha256` and `vae_sha256` are of whole
    files, None for a folder of several. `embeddings` are textual inversions: token and the sha256 of the file. `others`
    names the adapters that the grammar cannot express.
    """

    prompt: str
    negative_prompt: str | None = None
    steps: int
    scheduler_class: str
    scheduler_config: Mapping[str, Json] = field(default_factory=dict)
    guidance_scale: float | None = None
    seed: int
    width: int
    height: int
    model_name: str | None = None
    model_sha256: str | None = None
    vae_name: str | None = None
    vae_sha256: str | None = None
    clip_skip: int | None = None
    loras: tuple[UsedLora, ...] = ()
    embeddings: tuple[tuple[str, str], ...] = ()
    others: tuple[str, ...] = ()


def parameters_text(generation: Generation) -> str:
    """The whole text: prompt with LoRA tags, negative prompt, and the line of parameters."""
    loras = [lora for lora in generation.loras if not _is_off(lora.scale)]
    lines = [" ".join((generation.prompt, *filter(None, map(_tag, loras))))]
    if generation.negative_prompt:
        lines.append(f"Negative prompt: {generation.negative_prompt}")
    lines.append(_joined(_pairs(generation, loras)))
    return "\n".join(lines).strip()


def quote(value: str) -> str:
    """`value` as the line of parameters has it: JSON text when it holds a comma, colon, newline or quote."""
    if set(value).isdisjoint(',:\n"'):
        return value
    return json.dumps(value, ensure_ascii=False)


def _pairs(made: Generation, loras: Sequence[UsedLora]) -> list[tuple[str, str]]:
    model_hash, vae_hash = _short(made.model_sha256, _MODEL_HASH), _short(made.vae_sha256, _MODEL_HASH)
    lora_hashes = _short_hashes((lora.name, lora.autov3) for lora in loras)
    embedding_hashes = _short_hashes(made.embeddings)
    values = (
        ("Steps", str(made.steps)),
        ("Sampler", sampler_name(made.scheduler_class, made.scheduler_config)),
        ("Schedule type", schedule_type(made.scheduler_class, made.scheduler_config)),
        ("CFG scale", None if made.guidance_scale is None else _number(made.guidance_scale)),
        ("Seed", str(made.seed)),
        ("Size", f"{made.width}x{made.height}"),
        ("Model hash", model_hash),
        ("Model", made.model_name),
        ("VAE hash", vae_hash),
        ("VAE", made.vae_name),
        # There 1 is the last layer, which in diffusers is "none skipped".
        ("Clip skip", str(made.clip_skip + 1) if made.clip_skip else None),
        ("RNG", "CPU"),
        ("Lora hashes", _joined(lora_hashes.items())),
        ("TI hashes", _joined(embedding_hashes.items())),
        ("Other adapters", "; ".join(made.others)),
    )
    pairs = [(key, quote(value)) for key, value in values if value]
    # No number: the same image gets the same file from every release that makes the same pixels.
    pairs.append(("Version", "recipe_runner"))
    hashes = _all_hashes(model_hash, vae_hash, lora_hashes, embedding_hashes)
    if hashes:
        # Last, because A1111's reader mangles an object: whatever it makes of it then harms nothing else.
        pairs.append(("Hashes", json.dumps(hashes, ensure_ascii=False)))
    return pairs


def _all_hashes(model: str, vae: str, loras: Mapping[str, str], embeddings: Mapping[str, str]) -> dict[str, str]:
    """The object under `Hashes`."""
    hashes: dict[str, str] = {}
    if model:
        hashes["model"] = model
    if vae:
        hashes["vae"] = vae
    for name, value in loras.items():
        hashes[f"lora:{name}"] = value
    for name, value in embeddings.items():
        hashes[f"embed:{name}"] = value
    return hashes


def _short(digest: str | None, length: int) -> str:
    return (digest or "")[:length]


def _short_hashes(digests: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Short hashes by name, of the files whose digest is known."""
    hashes: dict[str, str] = {}
    for name, digest in digests:
        if digest:
            hashes[name.replace(":", "").replace(",", "")] = _short(digest, _SHORT_HASH)
    return hashes


def _joined(pairs: Iterable[tuple[str, str]]) -> str:
    return ", ".join(f"{name}: {value}" for name, value in pairs)


def _number(value: float) -> str:
    return repr(float(value)).removesuffix(".0")


def _is_number(value: Json) -> TypeGuard[float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_off(scale: Json) -> bool:
    if isinstance(scale, Mapping):
        return bool(scale) and all(map(_is_off, scale.values()))
    return _is_number(scale) and scale == 0


def _tag(lora: UsedLora) -> str | None:
    """The tag of a LoRA: `<lora:name:both>` or, by component, `<lora:name:text encoder:unet>`; else None."""
    if _is_number(lora.scale):
        return f"<lora:{lora.name}:{_number(lora.scale)}>"
    if not isinstance(lora.scale, Mapping):
        return None
    text = lora.scale.get("text_encoder", 1.0)
    model = lora.scale.get("unet", lora.scale.get("transformer", 1.0))
    if isinstance(text, (int, float)) and isinstance(model, (int, float)):
        return f"<lora:{lora.name}:{_number(text)}:{_number(model)}>"
    return None
