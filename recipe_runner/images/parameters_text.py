"""The `parameters` text that A1111, Forge, SD.Next and Civitai write and read.

Grammar and key order are those of A1111's `processing.create_infotext`, the quoting that of its `infotext_utils.quote`.

LoRAs stand in the prompt as `<lora:name:scale>`, because in that grammar nothing else says that one was applied, and
how strongly: pasted into A1111 the text then makes the picture with them, and Civitai finds them. A LoRA with scale 0
is left out (it changes no bit); one whose scale differs between blocks cannot be written as a tag and stands in
`Lora hashes` only. Image prompts and merges, for which there is no word at all, are named under a key of our own.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

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
    names what the grammar has no word for.
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
    loras = tuple(lora for lora in generation.loras if not _is_off(lora.scale))
    tags = [tag for tag in map(_tag, loras) if tag is not None]
    lines = [" ".join((generation.prompt, *tags))]
    if generation.negative_prompt:
        lines.append(f"Negative prompt: {generation.negative_prompt}")
    lines.append(", ".join(f"{key}: {value}" for key, value in _pairs(generation, loras)))
    return "\n".join(lines).strip()


def quote(value: str) -> str:
    """`value` as it stands in the line of parameters: JSON text when it holds a comma, colon, newline or quote."""
    if not any(character in value for character in ',:\n"'):
        return value
    return json.dumps(value, ensure_ascii=False)


def _pairs(generation: Generation, loras: tuple[UsedLora, ...]) -> list[tuple[str, str]]:
    made = generation
    lora_hashes = {_hash_name(lora.name): lora.autov3[:_SHORT_HASH] for lora in loras if lora.autov3}
    embedding_hashes = {_hash_name(token): sha256[:_SHORT_HASH] for token, sha256 in made.embeddings if sha256}
    hashes = {
        **({"model": made.model_sha256[:_MODEL_HASH]} if made.model_sha256 else {}),
        **({"vae": made.vae_sha256[:_MODEL_HASH]} if made.vae_sha256 else {}),
        **{f"lora:{name}": value for name, value in lora_hashes.items()},
        **{f"embed:{name}": value for name, value in embedding_hashes.items()},
    }
    values = (
        ("Steps", str(made.steps)),
        ("Sampler", sampler_name(made.scheduler_class, made.scheduler_config)),
        ("Schedule type", schedule_type(made.scheduler_class, made.scheduler_config)),
        ("CFG scale", None if made.guidance_scale is None else _number(made.guidance_scale)),
        ("Seed", str(made.seed)),
        ("Size", f"{made.width}x{made.height}"),
        ("Model hash", made.model_sha256 and made.model_sha256[:_MODEL_HASH]),
        ("Model", made.model_name),
        ("VAE hash", made.vae_sha256 and made.vae_sha256[:_MODEL_HASH]),
        ("VAE", made.vae_name),
        # 1 there is the last layer, which diffusers has as "none skipped".
        ("Clip skip", str(made.clip_skip + 1) if made.clip_skip else None),
        ("RNG", "CPU"),
        ("Lora hashes", _list(lora_hashes)),
        ("TI hashes", _list(embedding_hashes)),
        ("Other adapters", "; ".join(made.others)),
    )
    pairs = [(key, quote(value)) for key, value in values if value]
    # No number: the same picture gets the same file from every release that makes the same pixels.
    pairs.append(("Version", "recipe_runner"))
    if hashes:
        # Last, because A1111's reader mangles an object: whatever it makes of it then harms nothing else.
        pairs.append(("Hashes", json.dumps(hashes, ensure_ascii=False)))
    return pairs


def _list(hashes: Mapping[str, str]) -> str:
    return ", ".join(f"{name}: {value}" for name, value in hashes.items())


def _hash_name(name: str) -> str:
    return name.replace(":", "").replace(",", "")


def _number(value: float) -> str:
    return repr(float(value)).removesuffix(".0")


def _is_number(value: Json) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_off(scale: Json) -> bool:
    if isinstance(scale, Mapping):
        return bool(scale) and all(_is_off(part) for part in scale.values())
    return _is_number(scale) and scale == 0


def _tag(lora: UsedLora) -> str | None:
    """The tag of a LoRA: `<lora:name:both>` or, by component, `<lora:name:text encoder:unet>`."""
    if isinstance(lora.scale, (int, float)) and _is_number(lora.scale):
        return f"<lora:{lora.name}:{_number(lora.scale)}>"
    if not isinstance(lora.scale, Mapping):
        return None
    text = lora.scale.get("text_encoder", 1.0)
    model = lora.scale.get("unet", lora.scale.get("transformer", 1.0))
    if isinstance(text, (int, float)) and isinstance(model, (int, float)):
        return f"<lora:{lora.name}:{_number(text)}:{_number(model)}>"
    return None
