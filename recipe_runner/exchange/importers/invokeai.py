"""InvokeAI's three formats, from old to new: the `Dream` command line, `sd-metadata`, and `invokeai_metadata`."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from recipe_runner.exchange.importers.foreign_json import (
    first_text,
    float_of,
    given,
    integer_of,
    mapping,
    mappings,
    number_of,
    only,
    text_of,
    unread,
)
from recipe_runner.exchange.importers.generation import (
    NOISE,
    ForeignAdapter,
    ForeignGeneration,
    ForeignModel,
    single_seed,
    with_vae,
)
from recipe_runner.exchange.importers.prompt_syntax import plain_prompts

if TYPE_CHECKING:
    from recipe_runner.canonical import Json

_NEGATIVE = re.compile(r"\[([^\[\]]{0,5000})\]")
_FLAG = re.compile(r"-([A-Za-z])(.*)", re.DOTALL)
_DREAM = {"s": "steps", "S": "seed", "W": "width", "H": "height", "C": "cfg_scale", "A": "sampler"}
_DREAM_LOST = {
    "I": "the initial image", "f": "the strength of the initial image", "V": "variations of other seeds",
    "v": "variation amount", "G": "face restoration", "U": "upscaling", "M": "the initial mask", "T": "fit",
    "n": "number of iterations", "B": "concept embeddings",
}  # fmt: skip
_OLD_LOST = ("variations", "postprocessing", "init_mask", "upscale", "seamless", "hires_fix", "threshold", "perlin")
_READ = (
    "app_version", "created_by", "metadata_version", "type", "generation_mode", "positive_prompt", "negative_prompt",
    "positive_style_prompt", "negative_style_prompt", "width", "height", "seed", "rand_device", "cfg_scale", "guidance",
    "cfg_rescale_multiplier", "steps", "scheduler", "clip_skip", "model", "loras", "vae", "qwen3_encoder", "t5_encoder",
    "clip_embed_model",
)  # fmt: skip
_HASH = "InvokeAI model hash"
_LONGEST_FLAGS = 20_000
_FLOW = ("flux", "sd-3", "cogview4", "z-image")


def read_dream(text: str) -> ForeignGeneration | None:
    """What a `Dream` command line says: the prompt, in quotes or not, and flags as `-s50` or `-s 50`."""
    prompt, flags = _split_dream(text.strip())
    values: dict[str, Any] = {}
    lost: list[str] = []
    for flag, value in flags:
        if flag in _DREAM:
            values[_DREAM[flag]] = value
        elif flag in _DREAM_LOST:
            lost.append(f"{_DREAM_LOST[flag]} (-{flag} {value[:80]})")
    if "steps" not in values and "seed" not in values:
        return None
    return _old(prompt, values, lost)


def _split_dream(text: str) -> tuple[str, list[tuple[str, str]]]:
    """The prompt of a line, and its flags with their values."""
    prompt, rest = _before_flags(text)
    try:
        words = shlex.split(rest[:_LONGEST_FLAGS])
    except ValueError:
        words = rest.split()
    flags: list[tuple[str, str]] = []
    for word in words:
        match = _FLAG.fullmatch(word)
        if match and not number_of(word):
            flags.append((match[1], match[2]))
        elif flags and not flags[-1][1]:
            flags[-1] = (flags[-1][0], word)
    return prompt, flags


def _before_flags(text: str) -> tuple[str, str]:
    end = text.find('" -', 1)
    if text.startswith('"') and end > 0:
        return text[1:end], text[end + 1 :]
    match = re.search(r"\s-[A-Za-z]\s?[\d\w/]", text)
    if match is None:
        return text, ""
    return text[: match.start()], text[match.start() :]


def _old(
    prompt: str, values: Mapping[str, Any], lost: list[str], base: ForeignModel | None = None
) -> ForeignGeneration:
    """A generation of InvokeAI before 3, where brackets in the prompt hold the negative prompt."""
    avoided = list(filter(None, map(str.strip, _NEGATIVE.findall(prompt))))
    words = _NEGATIVE.sub("", prompt) if avoided else prompt
    prompts = plain_prompts(words, ", ".join(avoided), "invokeai")
    return ForeignGeneration(
        program="InvokeAI",
        prompts=prompts.texts,
        seeds=single_seed(values.get("seed")),
        sampling=_sampling(values),
        sampler=text_of(values.get("sampler")),
        base=base,
        lost=(*prompts.lost, *lost),
    )


def read_sd_metadata(tree: Mapping[str, Any]) -> ForeignGeneration | None:
    """What an `sd-metadata` object says (InvokeAI 1.15 to 2.3)."""
    image = mapping(tree.get("image"))
    prompt = image.get("prompt")
    lost: list[str] = []
    if isinstance(prompt, list):
        parts = mappings(prompt)
        prompt = " ".join(str(part.get("prompt", "")) for part in parts)
        if any(number_of(part.get("weight", 1)) != 1 for part in parts):
            lost.append("the prompts are weighted")
    if not isinstance(prompt, str):
        return None
    lost += _from_an_image(str(image.get("type") or ""))
    lost += unread(only(image, _OLD_LOST), ())
    name = first_text(tree, "model_weights", "model_id") or ""
    base = ForeignModel.hashed(name, _HASH, text_of(tree.get("model_hash")))
    if not base.name and not base.hashes:
        return _old(prompt, image, lost)
    return _old(prompt, image, lost, base)


def read_invokeai(tree: Mapping[str, Any]) -> ForeignGeneration | None:
    """What an `invokeai_metadata` object says (InvokeAI 3 and later)."""
    if not isinstance(tree.get("positive_prompt"), str) and "generation_mode" not in tree:
        return None
    positive, negative = str(tree.get("positive_prompt") or ""), str(tree.get("negative_prompt") or "")
    prompts = plain_prompts(positive, negative, "invokeai")
    base, family = _model(tree.get("model"))
    vae, _ = _model(tree.get("vae"))
    lost = [*prompts.lost, *_from_an_image(str(tree.get("generation_mode") or ""))]
    if tree.get("rand_device") == "cuda":
        lost.append(NOISE.format("a GPU"))
    return ForeignGeneration(
        program="InvokeAI",
        prompts={**prompts.texts, **_style_prompts(tree, prompts.texts)},
        seeds=single_seed(tree.get("seed")),
        sampling=_sampling(tree),
        sampler=text_of(tree.get("scheduler")),
        flow=family.startswith(_FLOW),
        base=base,
        components=with_vae(vae),
        adapters=tuple(_loras(tree.get("loras"))),
        lost=(*lost, *unread(tree, _READ)),
    )


def _from_an_image(mode: str) -> list[str]:
    """A sentence when the mode of a generation begins with another image."""
    if not mode or mode.endswith("txt2img"):
        return []
    return [f"made by {mode[:40]} from another image: only the text is carried over"]


def _style_prompts(tree: Mapping[str, Any], texts: Mapping[str, str]) -> dict[str, str]:
    """SDXL's second prompts, where they differ from the first."""
    styles: dict[str, str] = {}
    for side, name in (("positive", "prompt"), ("negative", "negative_prompt")):
        style = (text_of(tree.get(f"{side}_style_prompt")) or "").strip()
        if style and style != texts.get(name):
            styles[f"{name}_2"] = style
    return styles


def _sampling(values: Mapping[str, Any]) -> dict[str, Json]:
    guidance = float_of(values.get("guidance"))
    if guidance is None:
        guidance = float_of(values.get("cfg_scale"))
    # InvokeAI counts skipped layers, as diffusers does.
    skipped = integer_of(values.get("clip_skip")) or 0
    return given(
        {
            "num_inference_steps": integer_of(values.get("steps")),
            "guidance_scale": guidance,
            "height": integer_of(values.get("height")),
            "width": integer_of(values.get("width")),
            "guidance_rescale": number_of(values.get("cfg_rescale_multiplier")) or None,
            "clip_skip": skipped if skipped > 0 else None,
        }
    )


def _model(value: Any) -> tuple[ForeignModel | None, str]:
    """A model from `{name | model_name, hash, base | base_model}`, and its family."""
    tree = mapping(value)
    name = first_text(tree, "name", "model_name") or text_of(value)
    if name is None:
        return None, ""
    return ForeignModel.hashed(name, _HASH, text_of(tree.get("hash"))), first_text(tree, "base", "base_model") or ""


def _loras(entries: Any) -> list[ForeignAdapter]:
    found = []
    for entry in mappings(entries):
        model, _ = _model(entry.get("model") or entry.get("lora"))
        if model is not None:
            found.append(ForeignAdapter.lora(model, entry.get("weight")))
    return found
