"""Check the values of a `ForeignGeneration`: prompts, seeds, sampling and scheduler are in range, or lost."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, TypeGuard

from recipe_runner.exchange.importers.foreign_json import plain
from recipe_runner.images.sampler_names import NamedScheduler, scheduler_named
from recipe_runner.pipelines import table as diffusers_table

if TYPE_CHECKING:
    from recipe_runner.canonical import Json
    from recipe_runner.exchange.importers.generation import ForeignGeneration

_LONGEST_PROMPT = 20_000
_LARGEST_SEED = 2**64 - 1
_SIZES = ("height", "width")
_RANGES: Mapping[str, tuple[float, float]] = {
    "height": (8, 16_384),
    "width": (8, 16_384),
    "num_inference_steps": (1, 10_000),
    "guidance_scale": (0, 1e6),
    "true_cfg_scale": (0, 1e6),
    "eta": (0, 1),
    "guidance_rescale": (0, 1),
    "clip_skip": (1, 64),
    "max_sequence_length": (1, 4_096),
}
_WHOLE = (*_SIZES, "num_inference_steps", "clip_skip", "max_sequence_length")
_SDXL_NAMES = ("xl", "pony", "illustrious", "noob", "animagine")
_SMALLEST_SDXL = 850_000
"""Pixels."""
_LONGEST_LIST = 1_000
_NO_SAMPLER = ("default", "undefined", "none", "")


def clean(text: str) -> str:
    """`text` with line breaks of one kind, without NUL, lone surrogates and byte-order marks."""
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
        found[name] = words[:_LONGEST_PROMPT]
    return found, lost


def seeds_of(seeds: tuple[int, ...]) -> tuple[tuple[int, ...], list[str]]:
    """Seeds that torch takes; a sentence when there is none."""
    if not seeds:
        return (), ["the text names no seed; the recipe uses 0"]
    kept: list[int] = []
    lost: list[str] = []
    for seed in dict.fromkeys(seeds):
        if 0 <= seed <= _LARGEST_SEED:
            kept.append(seed)
        else:
            lost.append(f"the seed {str(seed)[:40]}")
    return tuple(kept), lost


def sampling_of(made: ForeignGeneration, pipeline: str | None) -> tuple[dict[str, Json], list[str]]:
    """The arguments of the call that are known and in range, and a sentence for each other."""
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
        if name in _SIZES and checked != value:
            lost.append(f"{name} {value}, which is not a multiple of 8; {checked} is written")
        found[name] = checked
    without = _without_clip_skip(made, pipeline)
    if "clip_skip" in found and without:
        lost.append(f"clip skip {found.pop('clip_skip')}{without}")
    return found, lost


def _without_clip_skip(made: ForeignGeneration, pipeline: str | None) -> str:
    """The end of a sentence that says why clip skip is left out; empty when it is carried over."""
    if made.flow:
        return ", which flow-matching models do not have"
    if _looks_like_sdxl(made, pipeline):
        return ": other programs skip no more layers in SDXL, but diffusers would"
    return ""


def _looks_like_sdxl(made: ForeignGeneration, pipeline: str | None) -> bool:
    """By the pipeline or the name of the base; without a name, by a size that no earlier model has."""
    if pipeline is not None:
        return "XL" in pipeline
    if made.base is not None and made.base.name:
        return any(mark in made.base.name.lower() for mark in _SDXL_NAMES)
    height, width = made.sampling.get("height"), made.sampling.get("width")
    return isinstance(height, int) and isinstance(width, int) and height * width > _SMALLEST_SDXL


def _checked(name: str, value: Json) -> Json:
    """`value` as the recipe takes it; None when the recipe does not."""
    if name in _RANGES:
        return _in_range(name, value)
    if isinstance(value, str):
        return clean(value)[:_LONGEST_PROMPT]
    if _is_number(value) and abs(value) > _LARGEST_SEED:
        return None
    return plain(value)


def _in_range(name: str, value: Json) -> int | float | None:
    low, high = _RANGES[name]
    if not _is_number(value) or not low <= value <= high or (name in _WHOLE and value != int(value)):
        return None
    if name in _SIZES:
        return int(value) // 8 * 8
    return int(value) if name in _WHOLE else float(value)


def _is_number(value: Json) -> TypeGuard[float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def scheduler_of(made: ForeignGeneration) -> tuple[dict[str, Json], list[str]]:
    """The scheduler section for the sampler's name, as far as diffusers has it."""
    if made.scheduler is not None:
        return _known_scheduler(*made.scheduler)
    if made.sampler is None or made.sampler.lower() in _NO_SAMPLER:
        return {}, []
    shown = f"the sampler {made.sampler[:60]}"
    if made.schedule:
        shown += f" ({made.schedule[:40]})"
    named = scheduler_named(made.sampler, made.schedule)
    if made.flow:
        return _flow_scheduler(named, made.schedule, shown)
    if named is None:
        return {}, [f"{shown} has no counterpart in diffusers; the base's own scheduler is used"]
    section, lost = _known_scheduler(named.class_name, named.config)
    return section, [f"{shown}: {note}" for note in named.notes] + lost


def _flow_scheduler(named: NamedScheduler | None, schedule: str, shown: str) -> tuple[dict[str, Json], list[str]]:
    """The settings of a flow-matching base's own scheduler, which is Euler; others would misread its sigmas."""
    section: dict[str, Json] = {}
    if schedule.lower() == "beta":
        section["config"] = {"use_beta_sigmas": True}
    if named is not None and named.class_name == "EulerDiscreteScheduler":
        return section, []
    return section, [f"{shown}: a flow-matching model keeps its own scheduler here"]


def _known_scheduler(name: str | None, config: Mapping[str, Json]) -> tuple[dict[str, Json], list[str]]:
    """The section of a class (None: the base's own) with the configuration that it has."""
    known = diffusers_table.schedulers()
    section: dict[str, Json] = {}
    if name is None:
        allowed = set().union(*(entry["config"] for entry in known.values()))
    elif name in known:
        allowed = known[name]["config"]
        section["class"] = name
    else:
        return {}, [f"the scheduler {name[:60]} is not available here; the base's own is used"]
    kept = {key: value for key, value in config.items() if key in allowed}
    if kept:
        section["config"] = kept
    where = "no scheduler has" if name is None else f"{name} does not have"
    return section, [f"{key[:60]}, which {where}" for key in config if key not in kept]
