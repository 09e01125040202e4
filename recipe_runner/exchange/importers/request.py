"""The values of a `Generation` as the recipe's prompts, seeds, sampling and scheduler: within their ranges, or lost."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from recipe_runner.exchange.importers.foreign_json import plain
from recipe_runner.images.sampler_names import scheduler_named
from recipe_runner.pipelines import table as diffusers_table

if TYPE_CHECKING:
    from recipe_runner.canonical import Json
    from recipe_runner.exchange.importers.generation import Generation

_LONGEST_PROMPT = 20_000
_LARGEST_SEED = 2**64 - 1
_SIZES = (8, 16_384)
_RANGES: Mapping[str, tuple[float, float]] = {
    "num_inference_steps": (1, 10_000),
    "guidance_scale": (0, 1e6),
    "true_cfg_scale": (0, 1e6),
    "eta": (0, 1),
    "guidance_rescale": (0, 1),
    "clip_skip": (1, 64),
    "max_sequence_length": (1, 4_096),
}
_WHOLE = ("num_inference_steps", "clip_skip", "max_sequence_length")
_SDXL_NAMES = ("xl", "pony", "illustrious", "noob", "animagine")
_SMALLEST_SDXL = 850_000
"""Pixels."""
_LONGEST_LIST = 1_000


def clean(text: str) -> str:
    """`text` with line breaks of one kind, and without what no prompt needs: NUL, lone surrogates, byte-order marks."""
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\0", "").replace("\ufeff", "")
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def prompts_of(texts: Mapping[str, str], pipeline: str | None) -> tuple[dict[str, Json], list[str]]:
    """The recipe's prompt, without texts that the pipeline does not take."""
    entry = diffusers_table.pipelines().get(pipeline or "")
    found: dict[str, Json] = {"prompt": ""}
    lost: list[str] = []
    for name, text in texts.items():
        if entry is not None and name != "prompt" and name not in entry["parameters"]:
            lost.append(f"{name}, which {pipeline} does not take: {text[:100]}")
            continue
        words = clean(text)
        if len(words) > _LONGEST_PROMPT:
            lost.append(f"{name}: all but its first {_LONGEST_PROMPT:,} characters")
            words = words[:_LONGEST_PROMPT]
        found[name] = words
    return found, lost


def seeds_of(seeds: tuple[int, ...]) -> tuple[tuple[int, ...], list[str]]:
    """Seeds that torch takes; a sentence where there is none."""
    kept = tuple(dict.fromkeys(seed for seed in seeds if 0 <= seed <= _LARGEST_SEED))
    lost = [f"the seed {str(seed)[:40]}" for seed in seeds if seed not in kept]
    return kept, lost if kept or lost else ["no seed is named; the recipe's is 0"]


def sampling_of(made: Generation, pipeline: str | None) -> tuple[dict[str, Json], list[str]]:
    """Arguments of the call, each checked."""
    known = diffusers_table.call_parameters(pipeline)
    found: dict[str, Json] = {}
    lost: list[str] = []
    for name, value in made.sampling.items():
        if name not in known or isinstance(value, Mapping) or (isinstance(value, list) and len(value) > _LONGEST_LIST):
            lost.append(f"{str(name)[:60]}: {str(value)[:100]}")
            continue
        checked = _checked(name, value)
        if checked is None:
            lost.append(f"{name} {str(value)[:40]}, which is out of range")
            continue
        if name in ("height", "width") and checked != value:
            lost.append(f"{name} {value}, which is no multiple of 8; {checked} is written")
        found[name] = checked
    if "clip_skip" in found and made.flow:
        lost.append(f"clip skip {found.pop('clip_skip')}, which flow-matching models do not have")
    elif "clip_skip" in found and _looks_like_sdxl(made, pipeline):
        lost.append(f"clip skip {found.pop('clip_skip')}: those programs skip nothing more in SDXL, diffusers would")
    return found, lost


def _looks_like_sdxl(made: Generation, pipeline: str | None) -> bool:
    """By the pipeline or the base's name; where it has none, by a size that is no earlier model's."""
    if pipeline is not None:
        return "XL" in pipeline
    if made.base is not None and made.base.name:
        return any(mark in made.base.name.lower() for mark in _SDXL_NAMES)
    height, width = made.sampling.get("height"), made.sampling.get("width")
    return isinstance(height, int) and isinstance(width, int) and height * width > _SMALLEST_SDXL


def _checked(name: str, value: Json) -> Json:
    """`value` as the recipe takes it; None for what it does not take."""
    number = value if isinstance(value, (int, float)) and not isinstance(value, bool) else None
    if name in ("height", "width"):
        fits = isinstance(number, int) and _SIZES[0] <= number <= _SIZES[1]
        return int(number) // 8 * 8 if fits and number is not None else None
    if name in _RANGES:
        low, high = _RANGES[name]
        if number is None or not low <= number <= high or (name in _WHOLE and number != int(number)):
            return None
        return int(number) if name in _WHOLE else float(number)
    if isinstance(value, str):
        return clean(value)[:_LONGEST_PROMPT]
    return None if number is not None and abs(number) > _LARGEST_SEED else plain(value)


def scheduler_of(made: Generation) -> tuple[dict[str, Json], list[str]]:
    """The scheduler section: what the sampler's name stands for, as far as diffusers has it."""
    if made.scheduler is not None:
        return _known_scheduler(*made.scheduler)
    if made.sampler is None or made.sampler.lower() in ("default", "undefined", "none", ""):
        return {}, []
    named = scheduler_named(made.sampler, made.schedule)
    shown = f"the sampler {made.sampler[:60]}{f' ({made.schedule[:40]})' if made.schedule else ''}"
    if made.flow:
        # A flow-matching base brings its own scheduler, which is Euler; others would read its sigmas wrongly.
        beta: dict[str, Json] = {"config": {"use_beta_sigmas": True}} if made.schedule.lower() == "beta" else {}
        euler = named is not None and named.class_name == "EulerDiscreteScheduler"
        return beta, [] if euler else [f"{shown}: a flow-matching model keeps its own scheduler here"]
    if named is None:
        return {}, [f"{shown} has no counterpart in diffusers; the base's own scheduler is used"]
    section, lost = _known_scheduler(named.class_name, named.config)
    return section, [f"{shown}: {note}" for note in named.notes] + lost


def _known_scheduler(name: str | None, config: Mapping[str, Json]) -> tuple[dict[str, Json], list[str]]:
    known = diffusers_table.schedulers()
    if name is not None and name not in known:
        return {}, [f"the scheduler {name[:60]} is not available here; the base's own is used"]
    allowed = known[name]["config"] if name is not None else {key for each in known.values() for key in each["config"]}
    kept = {key: value for key, value in config.items() if key in allowed}
    lost = [f"{key[:60]}, which {name or 'no scheduler'} does not have" for key in config if key not in kept]
    section: dict[str, Json] = {"class": name} if name is not None else {}
    return {**section, **({"config": kept} if kept else {})}, lost
