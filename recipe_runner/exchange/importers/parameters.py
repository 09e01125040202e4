"""The `parameters` text of A1111, Forge, SD.Next, Civitai and this package, read.

Grammar as A1111's `infotext_utils.parse_generation_parameters`, with JSON values read whole; what Civitai appends is
understood. Every pair that a recipe does not hold is named as lost.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from recipe_runner.exchange.importers.foreign_json import integer_of, mapping, number_of, sequence, text_of
from recipe_runner.exchange.importers.generation import ForeignAdapter, ForeignModel, Generation
from recipe_runner.exchange.importers.prompt_syntax import plain_prompt

if TYPE_CHECKING:
    from recipe_runner.canonical import Json

_KEY = re.compile(r"(\w[\w \-/.()]{0,80}?)\s{0,9}:\s{0,99}")
_NEGATIVE = "Negative prompt:"
_FEWEST_PAIRS = 3
_BETWEEN = ", \t\r\n"
_LONGEST = 1_000_000
"""Characters that are looked through for parameters."""
_LAST_LINES = 100
"""Where parameters are looked for: extensions write lines after them, and values with line breaks."""
_DECODER = json.JSONDecoder()
_SIZE = re.compile(r"\s*(\d{1,6})\s*[xX\u00d7]\s*(\d{1,6})\s*")
_READ = (
    "Steps", "Sampler", "Schedule type", "Scheduler", "CFG scale", "Distilled CFG Scale", "Seed", "Size", "Model hash",
    "Model", "VAE hash", "VAE", "Clip skip", "CLiP-skip", "CLIP skip", "Eta", "CFG rescale", "Pipeline", "RNG",
    "Lora hashes", "TI hashes", "Hashes", "Civitai resources", "Negative prompt",
)  # fmt: skip
_SAYS_NOTHING = (
    "Version", "App", "User", "Parser", "Operations", "Civitai metadata", "Created Date", "Backend", "LoRA networks",
    "Hashed prompt", "Hashed Negative prompt", "Emphasis", "Downcast alphas_cumprod", "NGMS", "Index", "Batch-index",
)  # fmt: skip
"""Keys that change no pixel, or that say again what others say."""
_BEGINNINGS = ("Lora hash", "TI hash", "Module ")
_KEYS = {key.casefold(): key for key in _READ}
_NO_VAE = ("automatic", "none", "default", "baked")
_OWN = "recipe_runner"


@dataclass(frozen=True, slots=True)
class Parts:
    """The three parts of the text."""

    prompt: str
    negative_prompt: str
    values: Mapping[str, Any]


def split_parameters(text: str) -> Parts | None:
    """The parts of a `parameters` text; None where no line of it holds parameters."""
    lines = text.strip().splitlines()
    for number in range(len(lines) - 1, max(-1, len(lines) - _LAST_LINES), -1):
        if ":" not in lines[number]:
            continue
        tail = "\n".join(lines[number:])
        if len(tail) > _LONGEST:
            return None
        before, tail = _split_line(tail)
        values = {_KEYS.get(key.casefold(), key): value for key, value in _pairs(tail).items()}
        if len(values) >= _FEWEST_PAIRS and ("Steps" in values or "Sampler" in values or "Seed" in values):
            prompt, negative = _prompts([*lines[:number], *([before] if before else [])])
            return Parts(prompt, negative, values)
    return None


def _split_line(text: str) -> tuple[str, str]:
    """What stands before the parameters on their own first line: Civitai writes whole texts on one."""
    line, _, _ = text.partition("\n")
    first = _KEY.match(line.lstrip())
    if first is not None and first[1].casefold() in _KEYS and first[1] != "Negative prompt":
        return "", text
    found = re.search(r"(?:^|(?<=\s))Steps: \d", line)
    return ("", text) if found is None else (line[: found.start()].strip(), text[found.start() :])


def _prompts(lines: list[str]) -> tuple[str, str]:
    """The prompt and the negative prompt of the lines before the parameters."""
    cut = next((place for place, line in enumerate(lines) if line.strip().startswith(_NEGATIVE)), None)
    if cut is not None:
        return "\n".join(lines[:cut]).strip(), "\n".join(lines[cut:]).strip().removeprefix(_NEGATIVE).strip()
    text = "\n".join(lines)
    prompt, _, negative = text.partition(f" {_NEGATIVE}") if text.count("\n") == 0 else (text, "", "")
    return prompt.strip(), negative.strip()


def _pairs(text: str) -> dict[str, Any]:
    """`Key: value` pairs joined by commas; values that begin as JSON are read as JSON where they are."""
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
        place = match.end()
        value: Any = None
        if text[place : place + 1] in ('"', "{", "["):
            try:
                value, place = _DECODER.raw_decode(text, place)
            except (ValueError, RecursionError):
                value = None
        if value is None:
            end = _next_comma(text, place)
            value = text[place:end].strip()
            place = end
        else:
            place = _next_comma(text, place)
        if value != "":
            values.setdefault(match[1].strip(), value)
    return values


def _next_comma(text: str, place: int) -> int:
    end = text.find(",", place)
    return len(text) if end < 0 else end


def read_parameters(text: str) -> Generation | None:
    """What a `parameters` text says; None where it is none."""
    parts = split_parameters(text)
    if parts is None:
        return None
    values = parts.values
    own = str(values.get("Version", "")) == _OWN
    program = _program(values, own=own)
    syntax: Any = "none" if own else "a1111"
    prompt = plain_prompt(parts.prompt, syntax)
    negative = plain_prompt(parts.negative_prompt, syntax, "the negative prompt")
    sampling, lost = _sampling(values)
    base = _base(values)
    seed = integer_of(values.get("Seed"))
    vae = text_of(values.get("VAE"))
    adapters, more = _adapters((*prompt.adapters, *negative.adapters), values)
    lost += [*prompt.lost, *negative.lost, *more, *_lost_pairs(values)]
    if str(values.get("RNG", "GPU")) not in ("CPU", "GPU") or (not own and "RNG" not in values and program == "A1111"):
        noise = values.get("RNG", "a GPU")
        lost.append(f"the noise was drawn on {noise}, here on the CPU: the same seed gives another picture")
    pipeline = text_of(values.get("Pipeline"))
    distilled = "Distilled CFG Scale" in values
    named = text_of(values.get("Scheduler"))
    return Generation(
        program=program,
        prompts={"prompt": prompt.text, **({"negative_prompt": negative.text} if negative.text else {})},
        seeds=() if seed is None else (seed,),
        sampling=sampling,
        sampler=text_of(values.get("Sampler")),
        schedule=str(values.get("Schedule type", "" if named is None or named.endswith("Scheduler") else named)),
        scheduler=(named, {}) if named and named.endswith("Scheduler") else None,
        flow=distilled or (pipeline or "").startswith(("Flux", "StableDiffusion3", "Chroma")),
        base=base,
        pipeline=pipeline,
        components={} if vae is None or vae.lower() in _NO_VAE else {"vae": _model(vae, values, "VAE hash")},
        adapters=adapters,
        lost=tuple(lost),
    )


def _program(values: Mapping[str, Any], *, own: bool) -> str:
    version = str(values.get("Version", ""))
    if own:
        return _OWN
    if values.get("App"):
        return str(values["App"])[:40]
    if version.startswith("f") or "Distilled CFG Scale" in values:
        return "Forge"
    if version.startswith("ComfyUI"):
        return "ComfyUI"
    return "Civitai" if "Civitai resources" in values else "A1111"


def _sampling(values: Mapping[str, Any]) -> tuple[dict[str, Json], list[str]]:
    sampling: dict[str, Json] = {}
    lost: list[str] = []
    steps, guidance = integer_of(values.get("Steps")), number_of(values.get("CFG scale"))
    distilled = number_of(values.get("Distilled CFG Scale"))
    if steps is not None:
        sampling["num_inference_steps"] = steps
    if distilled is not None:
        sampling["guidance_scale"] = float(distilled)
        if guidance is not None and guidance > 1:
            sampling["true_cfg_scale"] = float(guidance)
    elif guidance is not None:
        sampling["guidance_scale"] = float(guidance)
    size = _SIZE.fullmatch(str(values.get("Size", "")))
    if size:
        sampling |= {"height": int(size[2]), "width": int(size[1])}
    # Their count has 1 for the last layer, diffusers' has "none skipped".
    layers = next((values[key] for key in ("Clip skip", "CLiP-skip", "CLIP skip") if key in values), None)
    skip = integer_of(layers)
    if skip is not None and skip > 1:
        sampling["clip_skip"] = skip - 1
    for key, name in (("Eta", "eta"), ("CFG rescale", "guidance_rescale")):
        number = number_of(values.get(key))
        if number:
            sampling[name] = float(number)
    return sampling, lost


def _base(values: Mapping[str, Any]) -> ForeignModel | None:
    name = values.get("Model")
    if not isinstance(name, str) or not name.strip():
        hashed = values.get("Model hash")
        return None if hashed is None else ForeignModel(name="", hashes={"Model hash": str(hashed)})
    return _model(name, values, "Model hash")


def _model(name: str, values: Mapping[str, Any], key: str) -> ForeignModel:
    hashed = values.get(key)
    return ForeignModel(name=name, hashes={} if hashed is None else {key: str(hashed)})


def _adapters(
    named: tuple[ForeignAdapter, ...], values: Mapping[str, Any]
) -> tuple[tuple[ForeignAdapter, ...], list[str]]:
    """Adapters of the tags with their hashes, those that only the hashes name, and Civitai's resources."""
    lora_hashes, token_hashes = _hash_list(values.get("Lora hashes")), _hash_list(values.get("TI hashes"))
    for key, value in mapping(values.get("Hashes")).items():
        kind, _, name = str(key).partition(":")
        if kind.lower() == "lora" and name:
            lora_hashes.setdefault(name, str(value))
        elif kind.lower() == "embed" and name:
            token_hashes.setdefault(name, str(value))
    lost: list[str] = []
    found: list[ForeignAdapter] = []
    for adapter in named:
        hashed = lora_hashes.pop(_hash_name(adapter.model.name), None)
        model = adapter.model if hashed is None else replace(adapter.model, hashes={"AutoV3": hashed})
        found.append(replace(adapter, model=model))
    resources = [mapping(each) for each in sequence(values.get("Civitai resources"))]
    weights = [number_of(each.get("weight")) for each in resources if each.get("type") in ("lora", "lycoris")]
    # Names and numbers stand in no order that could be relied on; of one each there is no doubt.
    known = weights[0] if len(weights) == len(lora_hashes) == 1 and not named else None
    for name, hashed in lora_hashes.items():
        model = ForeignModel(name=name, hashes={"AutoV3": hashed})
        found.append(ForeignAdapter(kind="lora", model=model, scale=1.0 if known is None else float(known)))
        if known is None:
            lost.append(f"the text does not say at which scale the LoRA `{name[:60]}` was applied; 1.0 is written")
    for name, hashed in token_hashes.items():
        model = ForeignModel(name=name, hashes={"sha256": hashed})
        found.append(ForeignAdapter(kind="textual_inversion", model=model, token=name))
    said = known is not None or (bool(named) and not lora_hashes)
    lost += _resources(resources, have_loras=said)
    return tuple(found), lost


def _resources(resources: list[Mapping[str, Any]], *, have_loras: bool) -> list[str]:
    """Sentences about Civitai's own numbers, which say what to download and not what the file is called."""
    lost = []
    for entry in resources:
        kind = str(entry.get("type", "model"))[:20]
        number = entry.get("air") or entry.get("modelVersionId")
        if number is None or (kind in ("lora", "lycoris") and have_loras):
            continue
        name, weight = str(entry.get("modelName", "")), entry.get("weight")
        strength = "" if weight is None else f" at {weight}"
        lost.append(
            f"Civitai names a {kind}{f' {name[:60]}' if name else ''} by its number {str(number)[:80]}{strength}"
        )
    return lost


def _hash_list(value: Any) -> dict[str, str]:
    """`name: hash, name: hash`; or a mapping of them."""
    if isinstance(value, Mapping):
        return {str(name): str(hashed) for name, hashed in value.items()}
    pairs = (part.rpartition(":") for part in str(value or "").split(",") if ":" in part)
    return {name.strip(): hashed.strip() for name, _, hashed in pairs if name.strip()}


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
