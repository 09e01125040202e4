"""Parameters written as one JSON object: Fooocus, SwarmUI and NovelAI."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

from recipe_runner.exchange.importers.foreign_json import (
    given,
    integer_of,
    mapping,
    mappings,
    number_of,
    sequence,
    text_of,
    unread,
)
from recipe_runner.exchange.importers.generation import (
    ForeignAdapter,
    ForeignGeneration,
    ForeignModel,
    clip_skip_of,
    single_seed,
    with_vae,
)
from recipe_runner.exchange.importers.prompt_syntax import plain_prompts

if TYPE_CHECKING:
    from recipe_runner.canonical import Json

_FOOOCUS = (
    "prompt", "negative_prompt", "guidance_scale", "steps", "seed", "resolution", "sampler", "scheduler", "base_model",
    "base_model_hash", "vae", "loras", "clip_skip", "version", "metadata_scheme", "created_by",
)  # fmt: skip
_SWARM = (
    "prompt", "negativeprompt", "model", "seed", "steps", "cfgscale", "fluxguidancescale", "width", "height", "sampler",
    "scheduler", "loras", "loraweights", "clipstopatlayer", "vae", "images", "aspectratio", "swarm_version", "date",
)  # fmt: skip

_NOVELAI = (
    "prompt", "uc", "steps", "sampler", "noise_schedule", "scale", "seed", "width", "height", "version", "signed_hash",
    "request_type", "v4_prompt", "v4_negative_prompt", "n_samples",
)  # fmt: skip
_NO_VAE = ("default", "none", "automatic")
_COMBINED_LORA = "lora_combined_"
"""Older versions of Fooocus have a key for each LoRA: `lora_combined_1: "name : weight"`."""
_SUFFIX = re.compile(r"\.(safetensors|sft|ckpt)$")


def read_json_parameters(tree: Mapping[str, Any]) -> ForeignGeneration | None:
    """What an object of Fooocus, SwarmUI or NovelAI says; None for any other."""
    if "sui_image_params" in tree:
        return _swarm(mapping(tree["sui_image_params"]), mappings(tree.get("sui_models")))
    if "uc" in tree and "prompt" in tree and "scale" in tree:
        return _novelai(tree)
    if "base_model" in tree and "prompt" in tree:
        return _fooocus(tree)
    return None


def _fooocus(tree: Mapping[str, Any]) -> ForeignGeneration:
    rest = {key: value for key, value in tree.items() if not str(key).startswith(_COMBINED_LORA)}
    size = re.findall(r"\d{1,6}", str(tree.get("resolution", "")))
    if len(size) > 1:
        tree = {**tree, "width": size[0], "height": size[1]}
    return _generation(
        "Fooocus",
        tree,
        negative="negative_prompt",
        guidance="guidance_scale",
        base=_base(tree.get("base_model"), tree.get("base_model_hash")),
        loras=_fooocus_loras(tree),
        clip_skip=clip_skip_of(integer_of(tree.get("clip_skip"))),
        lost=unread(rest, _FOOOCUS),
    )


def _fooocus_loras(tree: Mapping[str, Any]) -> list[ForeignAdapter]:
    loras: list[ForeignAdapter] = []
    for entry in sequence(tree.get("loras")):
        if isinstance(entry, list) and len(entry) > 1:
            loras += _lora(*entry[:3])
    for key, value in tree.items():
        if str(key).startswith(_COMBINED_LORA):
            name, _, weight = str(value).rpartition(" : ")
            loras += _lora(name.strip(), weight.strip())
    return loras


def _swarm(tree: Mapping[str, Any], files: Sequence[Mapping[str, Any]]) -> ForeignGeneration:
    hashes = {(str(file.get("param")), _bare(file.get("name"))): file.get("hash") for file in files}
    flux = number_of(tree.get("fluxguidancescale"))
    found = _generation(
        "SwarmUI",
        tree,
        negative="negativeprompt",
        guidance="cfgscale" if flux is None else "fluxguidancescale",
        base=_base(tree.get("model"), hashes.get(("model", _bare(tree.get("model"))))),
        loras=_swarm_loras(tree, hashes),
        clip_skip=clip_skip_of(integer_of(tree.get("clipstopatlayer"))),
        lost=unread(tree, _SWARM),
    )
    return replace(found, flow=flux is not None)


def _swarm_loras(tree: Mapping[str, Any], hashes: Mapping[tuple[str, str], Any]) -> list[ForeignAdapter]:
    names, weights = _listed(tree.get("loras")), _listed(tree.get("loraweights"))
    loras: list[ForeignAdapter] = []
    for name, weight in zip_longest(names, weights[: len(names)], fillvalue=1):
        loras += _lora(name, weight, hashes.get(("loras", _bare(name))))
    return loras


def _novelai(tree: Mapping[str, Any]) -> ForeignGeneration:
    return _generation(
        "NovelAI",
        {**tree, "scheduler": tree.get("noise_schedule")},
        negative="uc",
        guidance="scale",
        lost=["NovelAI's model, which is not published", *unread(tree, _NOVELAI)],
    )


def _listed(value: Any) -> Sequence[Any]:
    """A list, or a text of parts between commas."""
    if isinstance(value, str) and value:
        return [part.strip() for part in value.split(",")]
    return sequence(value)


def _bare(name: Any) -> str:
    return _SUFFIX.sub("", str(name))


def _generation(
    program: str,
    values: Mapping[str, Any],
    *,
    negative: str,
    guidance: str,
    lost: list[str],
    base: ForeignModel | None = None,
    loras: Sequence[ForeignAdapter] = (),
    clip_skip: int | None = None,
) -> ForeignGeneration:
    """The generation of a program's `values`; `negative` and `guidance` are the keys that differ."""
    prompts = plain_prompts(str(values.get("prompt") or ""), str(values.get(negative) or ""), "a1111")
    sampling: dict[str, Json] = {
        "num_inference_steps": integer_of(values.get("steps")),
        "guidance_scale": number_of(values.get(guidance)),
        "height": integer_of(values.get("height")),
        "width": integer_of(values.get("width")),
        "clip_skip": clip_skip,
    }
    return ForeignGeneration(
        program=program,
        prompts=prompts.texts,
        seeds=single_seed(values.get("seed")),
        sampling=given(sampling),
        sampler=text_of(values.get("sampler")),
        schedule=str(values.get("scheduler") or ""),
        base=base,
        components=with_vae(_vae(values.get("vae"))),
        adapters=(*prompts.adapters, *loras),
        lost=(*prompts.lost, *lost),
    )


def _lora(name: Any, weight: Any, hashed: Any = None) -> list[ForeignAdapter]:
    """A LoRA; none for an empty place in a program's list."""
    if str(name) in ("", "None"):
        return []
    return [ForeignAdapter.lora(ForeignModel.hashed(str(name), "hash", hashed), weight)]


def _base(name: Any, hashed: Any) -> ForeignModel | None:
    text = text_of(name)
    if text is None:
        return None
    return ForeignModel.hashed(text, "hash", hashed)


def _vae(name: Any) -> ForeignModel | None:
    text = text_of(name)
    if text is None or text.lower().startswith(_NO_VAE):
        return None
    return ForeignModel(name=text)
