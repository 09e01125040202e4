"""Read the `parameters` text of A1111, Forge, SD.Next, Civitai and this package.

The grammar is that of A1111's `infotext_utils.parse_generation_parameters`, with JSON values read as JSON and with what
Civitai appends. Every pair that a recipe does not hold is named as lost.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from recipe_runner.exchange.importers.foreign_json import (
    first_of,
    float_of,
    given,
    integer_of,
    mapping,
    mappings,
    text_of,
)
from recipe_runner.exchange.importers.generation import (
    NOISE,
    ForeignAdapter,
    ForeignGeneration,
    ForeignModel,
    clip_skip_of,
    guidance_of,
    single_seed,
    with_vae,
)
from recipe_runner.exchange.importers.prompt_syntax import plain_prompts

if TYPE_CHECKING:
    from recipe_runner.canonical import Json

_KEY = re.compile(r"(\w[\w \-/.()]{0,80}?)\s{0,9}:\s{0,99}")
_NEGATIVE_KEY = "Negative prompt"
_NEGATIVE = f"{_NEGATIVE_KEY}:"
_FEWEST_PAIRS = 3
_MARKS = ("Steps", "Sampler", "Seed")
"""Every `parameters` text has one of these keys."""
_BETWEEN = ", \t\r\n"
_LONGEST = 1_000_000
"""Characters in which parameters are looked for."""
_LAST_LINES = 100
"""Lines in which parameters are looked for: extensions write lines after them, and values with line breaks."""
_DECODER = json.JSONDecoder()
_SIZE = re.compile(r"\s*(\d{1,6})\s*[xX\u00d7]\s*(\d{1,6})\s*")
_CLIP_SKIPS = ("Clip skip", "CLiP-skip", "CLIP skip")
_READ = (
    "Steps", "Sampler", "Schedule type", "Scheduler", "CFG scale", "Distilled CFG Scale", "Seed", "Size", "Model hash",
    "Model", "VAE hash", "VAE", *_CLIP_SKIPS, "Eta", "CFG rescale", "Pipeline", "RNG", "Lora hashes", "TI hashes",
    "Hashes", "Civitai resources", _NEGATIVE_KEY,
)  # fmt: skip
_SAYS_NOTHING = (
    "Version", "App", "User", "Parser", "Operations", "Civitai metadata", "Created Date", "Backend", "LoRA networks",
    "Hashed prompt", "Hashed Negative prompt", "Emphasis", "Downcast alphas_cumprod", "NGMS", "Index", "Batch-index",
)  # fmt: skip
"""Keys that change no pixel, or that repeat what others say."""
_BEGINNINGS = ("Lora hash", "TI hash")
_KEYS = {key.casefold(): key for key in _READ}
_NO_VAE = ("automatic", "none", "default", "baked")
_FLOW_PIPELINES = ("Flux", "StableDiffusion3", "Chroma")
_LORA_HASH = "AutoV3"
_LORA_TYPES = ("lora", "lycoris")
_OWN = "recipe_runner"
_ON_A_GPU = ("A1111", "SD.Next")
"""Programs that draw noise on a GPU unless `RNG` says otherwise."""


@dataclass(frozen=True, slots=True)
class Parts:
    """The three parts of the text."""

    prompt: str
    negative_prompt: str
    values: Mapping[str, Any]


def split_parameters(text: str) -> Parts | None:
    """The parts of a `parameters` text; None when no line of it holds parameters."""
    lines = text.strip().splitlines()
    for number in range(len(lines) - 1, max(-1, len(lines) - _LAST_LINES), -1):
        if ":" not in lines[number]:
            continue
        tail = "\n".join(lines[number:])
        if len(tail) > _LONGEST:
            return None
        before, tail = _split_line(tail)
        values = {_KEYS.get(key.casefold(), key): value for key, value in _pairs(tail).items()}
        if len(values) >= _FEWEST_PAIRS and not values.keys().isdisjoint(_MARKS):
            prompt, negative = _prompts(lines[:number], before)
            return Parts(prompt, negative, values)
    return None


def _split_line(text: str) -> tuple[str, str]:
    """The prompts before the parameters on their own first line (Civitai writes whole texts on one), and the rest."""
    line, _, _ = text.partition("\n")
    first = _KEY.match(line.lstrip())
    if first is not None and first[1].casefold() in _KEYS and first[1] != _NEGATIVE_KEY:
        return "", text
    found = re.search(r"(?:^|(?<=\s))Steps: \d", line)
    if found is None:
        return "", text
    return line[: found.start()].strip(), text[found.start() :]


def _prompts(lines: list[str], before: str) -> tuple[str, str]:
    """The prompt and the negative prompt of the lines before the parameters, and of the text before them on theirs."""
    if before:
        lines = [*lines, before]
    for place, line in enumerate(lines):
        if line.strip().startswith(_NEGATIVE):
            negative = "\n".join(lines[place:]).strip().removeprefix(_NEGATIVE)
            return "\n".join(lines[:place]).strip(), negative.strip()
    if len(lines) == 1:
        prompt, _, negative = lines[0].partition(f" {_NEGATIVE}")
        return prompt.strip(), negative.strip()
    return "\n".join(lines).strip(), ""


def _pairs(text: str) -> dict[str, Any]:
    """`Key: value` pairs joined by commas, the first of equal keys."""
    values: dict[str, Any] = {}
    place = 0
    while place < len(text):
        if text[place] in _BETWEEN:
            place += 1
            continue
        match = _KEY.match(text, place)
        if match is None:
            # A part without a key, as a comma inside an unquoted value leaves it.
            place = _next_comma(text, place + 1)
            continue
        value, place = _value(text, match.end())
        if value != "":
            values.setdefault(match[1].strip(), value)
    return values


def _value(text: str, place: int) -> tuple[Any, int]:
    """The value at `place`, as JSON when it begins as JSON, and the place of the comma after it."""
    if text[place : place + 1] in ('"', "{", "["):
        try:
            value, end = _DECODER.raw_decode(text, place)
        except (ValueError, RecursionError):
            pass
        else:
            return value, _next_comma(text, end)
    end = _next_comma(text, place)
    return text[place:end].strip(), end


def _next_comma(text: str, place: int) -> int:
    end = text.find(",", place)
    return len(text) if end < 0 else end


def read_parameters(text: str) -> ForeignGeneration | None:
    """What a `parameters` text says; None for any other text."""
    parts = split_parameters(text)
    if parts is None:
        return None
    values = parts.values
    program = _program(values)
    prompts = plain_prompts(parts.prompt, parts.negative_prompt, "none" if program == _OWN else "a1111")
    pipeline = text_of(values.get("Pipeline"))
    scheduler, schedule = _schedule(values)
    adapters, more = _adapters(prompts.adapters, values)
    return ForeignGeneration(
        program=program,
        prompts=prompts.texts,
        seeds=single_seed(values.get("Seed")),
        sampling=_sampling(values),
        sampler=text_of(values.get("Sampler")),
        schedule=schedule,
        scheduler=scheduler,
        flow="Distilled CFG Scale" in values or (pipeline or "").startswith(_FLOW_PIPELINES),
        base=_base(values),
        pipeline=pipeline,
        components=with_vae(_vae(values)),
        adapters=adapters,
        lost=(*prompts.lost, *more, *_lost_pairs(values), *_noise(program, values)),
    )


def _program(values: Mapping[str, Any]) -> str:
    version = str(values.get("Version", ""))
    if version == _OWN:
        return _OWN
    if values.get("App"):
        return str(values["App"])[:40]
    if version.startswith("f") or "Distilled CFG Scale" in values:
        return "Forge"
    if version.startswith("ComfyUI"):
        return "ComfyUI"
    return "Civitai" if "Civitai resources" in values else "A1111"


def _noise(program: str, values: Mapping[str, Any]) -> list[str]:
    """A sentence when the noise was drawn elsewhere than on the CPU."""
    drawn_on = values.get("RNG", "GPU" if program in _ON_A_GPU else "CPU")
    if drawn_on == "CPU":
        return []
    return [NOISE.format("a GPU" if drawn_on == "GPU" else drawn_on)]


def _schedule(values: Mapping[str, Any]) -> tuple[tuple[str, dict[str, Json]] | None, str]:
    """A scheduler of diffusers, and the name of a schedule: `Scheduler` is one or the other."""
    named = text_of(values.get("Scheduler")) or ""
    if named.endswith("Scheduler"):
        return (named, {}), str(values.get("Schedule type", ""))
    return None, str(values.get("Schedule type", named))


def _sampling(values: Mapping[str, Any]) -> dict[str, Json]:
    cfg, distilled = float_of(values.get("CFG scale")), float_of(values.get("Distilled CFG Scale"))
    sampling: dict[str, Json] = {
        "num_inference_steps": integer_of(values.get("Steps")),
        **guidance_of(cfg, distilled),
    }
    size = _SIZE.fullmatch(str(values.get("Size", "")))
    if size:
        sampling |= {"height": int(size[2]), "width": int(size[1])}
    sampling["clip_skip"] = clip_skip_of(integer_of(first_of(values, *_CLIP_SKIPS)))
    for key, name in (("Eta", "eta"), ("CFG rescale", "guidance_rescale")):
        sampling[name] = float_of(values.get(key)) or None
    return given(sampling)


def _base(values: Mapping[str, Any]) -> ForeignModel | None:
    hashed = values.get("Model hash")
    name = text_of(values.get("Model"))
    if name is None and hashed is None:
        return None
    return ForeignModel.hashed(name or "", "Model hash", hashed)


def _vae(values: Mapping[str, Any]) -> ForeignModel | None:
    name = text_of(values.get("VAE"))
    if name is None or name.lower() in _NO_VAE:
        return None
    return ForeignModel.hashed(name, "VAE hash", values.get("VAE hash"))


def _adapters(
    named: tuple[ForeignAdapter, ...], values: Mapping[str, Any]
) -> tuple[tuple[ForeignAdapter, ...], list[str]]:
    """Adapters of the tags with their hashes, those that only the hashes name, and Civitai's resources."""
    lora_hashes, token_hashes = _hashes(values)
    found: list[ForeignAdapter] = []
    for adapter in named:
        hashed = lora_hashes.pop(_hash_name(adapter.model.name), None)
        if hashed is not None:
            adapter = replace(adapter, model=replace(adapter.model, hashes={_LORA_HASH: hashed}))  # noqa: PLW2901
        found.append(adapter)
    resources = mappings(values.get("Civitai resources"))
    weight = _only_weight(resources, len(named), len(lora_hashes))
    lost: list[str] = []
    for name, hashed in lora_hashes.items():
        found.append(ForeignAdapter.lora(ForeignModel.hashed(name, _LORA_HASH, hashed), weight))
        if weight is None:
            lost.append(f"the text does not say at which scale the LoRA `{name[:60]}` was applied; 1.0 is written")
    for name, hashed in token_hashes.items():
        model = ForeignModel.hashed(name, "sha256", hashed)
        found.append(ForeignAdapter(kind="textual_inversion", model=model, token=name))
    have_loras = weight is not None or (bool(named) and not lora_hashes)
    return tuple(found), [*lost, *_resources(resources, have_loras=have_loras)]


def _hashes(values: Mapping[str, Any]) -> tuple[dict[str, str], dict[str, str]]:
    """Hashes of LoRAs by name, and of embeddings by token."""
    found = {"lora": _hash_list(values.get("Lora hashes")), "embed": _hash_list(values.get("TI hashes"))}
    for key, value in mapping(values.get("Hashes")).items():
        kind, _, name = str(key).partition(":")
        if kind.lower() in found and name:
            found[kind.lower()].setdefault(name, str(value))
    return found["lora"], found["embed"]


def _only_weight(resources: list[Mapping[str, Any]], tags: int, hashes: int) -> float | None:
    """The weight of Civitai's only LoRA when one hash and no tag names it; of several, no order can be relied on."""
    weights = [float_of(entry.get("weight")) for entry in resources if entry.get("type") in _LORA_TYPES]
    if tags or not len(weights) == hashes == 1:
        return None
    return weights[0]


def _resources(resources: list[Mapping[str, Any]], *, have_loras: bool) -> list[str]:
    """Sentences about Civitai's own numbers, which say what to download and not what the file is called."""
    lost = []
    for entry in resources:
        kind = str(entry.get("type", "model"))[:20]
        number = entry.get("air") or entry.get("modelVersionId")
        if number is None or (kind in _LORA_TYPES and have_loras):
            continue
        name = str(entry.get("modelName", ""))[:60]
        words = ["Civitai names a", kind, name, "by its number", str(number)[:80]]
        if entry.get("weight") is not None:
            words.append(f"at {entry['weight']}")
        lost.append(" ".join(filter(None, words)))
    return lost


def _hash_list(value: Any) -> dict[str, str]:
    """Hashes by name, from `name: hash, name: hash` or a mapping."""
    if isinstance(value, Mapping):
        return {str(name): str(hashed) for name, hashed in value.items()}
    hashes = {}
    for part in str(value or "").split(","):
        name, mark, hashed = part.rpartition(":")
        if mark and name.strip():
            hashes[name.strip()] = hashed.strip()
    return hashes


def _hash_name(name: str) -> str:
    return name.replace(":", "").replace(",", "")


def _lost_pairs(values: Mapping[str, Any]) -> list[str]:
    lost = []
    for key, value in values.items():
        if key in _READ or key in _SAYS_NOTHING or key.startswith(_BEGINNINGS):
            continue
        shown = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
        lost.append(f"{key}: {shown[:120]}")
    return lost
