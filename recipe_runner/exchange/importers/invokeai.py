"""InvokeAI's three ages: the `Dream` command line, `sd-metadata`, and `invokeai_metadata`."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from recipe_runner.exchange.importers.foreign_json import integer_of, mapping, number_of, sequence, text_of
from recipe_runner.exchange.importers.generation import ForeignAdapter, ForeignModel, Generation
from recipe_runner.exchange.importers.prompt_syntax import plain_prompt

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
_FLOW = ("flux", "sd-3", "cogview4", "z-image")


def read_dream(text: str) -> Generation | None:
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
    if text.startswith('"') and (end := text.find('" -', 1)) > 0:
        prompt, rest = text[1:end], text[end + 1 :]
    else:
        match = re.search(r"\s-[A-Za-z]\s?[\d\w/]", text)
        prompt, rest = (text, "") if match is None else (text[: match.start()], text[match.start() :])
    try:
        words = shlex.split(rest[:20_000])
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


def _old(prompt: str, values: Mapping[str, Any], lost: list[str]) -> Generation:
    negative = ", ".join(part.strip() for part in _NEGATIVE.findall(prompt) if part.strip())
    words = _NEGATIVE.sub("", prompt) if negative else prompt
    plain, avoided = plain_prompt(words, "invokeai"), plain_prompt(negative, "invokeai", "the negative prompt")
    seed = integer_of(values.get("seed"))
    return Generation(
        program="InvokeAI",
        prompts={"prompt": plain.text, **({"negative_prompt": avoided.text} if avoided.text else {})},
        seeds=() if seed is None or seed < 0 else (seed,),
        sampling=_sampling(values),
        sampler=text_of(values.get("sampler")),
        lost=(*plain.lost, *avoided.lost, *lost),
    )


def read_sd_metadata(tree: Mapping[str, Any]) -> Generation | None:
    """What an `sd-metadata` object says (InvokeAI 1.15 to 2.3)."""
    image = mapping(tree.get("image"))
    given = image.get("prompt")
    if not isinstance(given, (str, list)):
        return None
    parts = [mapping(part) for part in sequence(given)]
    prompt = given if isinstance(given, str) else " ".join(str(part.get("prompt", "")) for part in parts)
    lost = ["the prompts are weighted"] if any(number_of(part.get("weight", 1)) != 1 for part in parts) else []
    if image.get("type") not in (None, "txt2img"):
        lost.append(f"it was made by {str(image.get('type'))[:40]}, from another image: only the text is carried over")
    lost += [f"{key}: {str(image[key])[:80]}" for key in _OLD_LOST if image.get(key)]
    found = _old(prompt, image, lost)
    name = text_of(tree.get("model_weights")) or text_of(tree.get("model_id"))
    hashed = text_of(tree.get("model_hash"))
    base = ForeignModel(name=name or "", hashes={"InvokeAI model hash": hashed} if hashed else {})
    return replace(found, base=base if base.name or base.hashes else None)


def read_invokeai(tree: Mapping[str, Any]) -> Generation | None:
    """What an `invokeai_metadata` object says (InvokeAI 3 and later)."""
    if not isinstance(tree.get("positive_prompt"), str) and "generation_mode" not in tree:
        return None
    plain = plain_prompt(str(tree.get("positive_prompt") or ""), "invokeai")
    avoided = plain_prompt(str(tree.get("negative_prompt") or ""), "invokeai", "the negative prompt")
    prompts = {"prompt": plain.text, **({"negative_prompt": avoided.text} if avoided.text else {})}
    for key, name in (("positive_style_prompt", "prompt_2"), ("negative_style_prompt", "negative_prompt_2")):
        style = text_of(tree.get(key))
        if style and style.strip() != prompts.get(name.removesuffix("_2")):
            prompts[name] = style.strip()
    base, family = _model(tree.get("model"))
    mode = str(tree.get("generation_mode", ""))
    lost = [*plain.lost, *avoided.lost]
    if mode and not mode.endswith("txt2img"):
        lost.append(f"it was made by {mode[:40]}, from another image: only the text is carried over")
    if tree.get("rand_device") == "cuda":
        lost.append("the noise was drawn on a GPU, here on the CPU: the same seed gives another picture")
    lost += [
        f"{key}: {str(tree[key])[:120]}"
        for key in tree
        if key not in _READ and tree[key] not in (None, "", [], {}, False)
    ]
    vae, _ = _model(tree.get("vae"))
    seed = integer_of(tree.get("seed"))
    return Generation(
        program="InvokeAI",
        prompts=prompts,
        seeds=() if seed is None else (seed,),
        sampling=_sampling(tree),
        sampler=text_of(tree.get("scheduler")),
        flow=family.startswith(_FLOW),
        base=base,
        components={} if vae is None else {"vae": vae},
        adapters=tuple(_loras(sequence(tree.get("loras")))),
        lost=tuple(lost),
    )


def _sampling(values: Mapping[str, Any]) -> dict[str, Json]:
    guidance = number_of(values.get("guidance"))
    if guidance is None:
        guidance = number_of(values.get("cfg_scale"))
    # InvokeAI counts skipped layers, as diffusers does.
    skip = integer_of(values.get("clip_skip")) or 0
    found = {
        "num_inference_steps": integer_of(values.get("steps")),
        "guidance_scale": None if guidance is None else float(guidance),
        "height": integer_of(values.get("height")),
        "width": integer_of(values.get("width")),
        "guidance_rescale": number_of(values.get("cfg_rescale_multiplier")) or None,
        "clip_skip": skip if skip > 0 else None,
    }
    return {name: value for name, value in found.items() if value is not None}


def _model(value: Any) -> tuple[ForeignModel | None, str]:
    """A model as `{name | model_name, hash, base | base_model}`, and its family."""
    tree = mapping(value)
    name = text_of(tree.get("name")) or text_of(tree.get("model_name")) or text_of(value)
    if name is None:
        return None, ""
    hashed = text_of(tree.get("hash"))
    family = str(tree.get("base") or tree.get("base_model") or "")
    return ForeignModel(name=name, hashes={"InvokeAI model hash": hashed} if hashed else {}), family


def _loras(entries: Any) -> list[ForeignAdapter]:
    found = []
    for entry in map(mapping, entries):
        model, _ = _model(entry.get("model") or entry.get("lora"))
        weight = number_of(entry.get("weight"))
        if model is not None:
            found.append(ForeignAdapter(kind="lora", model=model, scale=1.0 if weight is None else float(weight)))
    return found
