"""Parameters written as one JSON object: Fooocus, SwarmUI and NovelAI."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from recipe_runner.exchange.importers.foreign_json import integer_of, mapping, number_of, sequence, text_of
from recipe_runner.exchange.importers.generation import ForeignAdapter, ForeignModel, Generation
from recipe_runner.exchange.importers.prompt_syntax import plain_prompt

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


def read_json_parameters(tree: Mapping[str, Any]) -> Generation | None:
    """What Fooocus's, SwarmUI's or NovelAI's object says; None where it is nobody's."""
    if "sui_image_params" in tree:
        return _swarm(mapping(tree["sui_image_params"]), sequence(tree.get("sui_models")))
    if "uc" in tree and "prompt" in tree and "scale" in tree:
        return _novelai(tree)
    return _fooocus(tree) if "base_model" in tree and "prompt" in tree else None


def _fooocus(tree: Mapping[str, Any]) -> Generation:
    size = re.findall(r"\d{1,6}", str(tree.get("resolution", "")))
    loras = [each for each in sequence(tree.get("loras")) if isinstance(each, list) and len(each) > 1]
    # Older versions have a key for each: `lora_combined_1: "name : weight"`.
    for key, value in tree.items():
        if str(key).startswith("lora_combined_"):
            loras.append([part.strip() for part in str(value).rpartition(" : ")[::2]])
    rest = [key for key in tree if key not in _FOOOCUS and not str(key).startswith("lora_combined_")]
    named = {
        "negative": tree.get("negative_prompt"),
        "guidance": tree.get("guidance_scale"),
        "height": size[1] if len(size) > 1 else None,
        "width": size[0] if len(size) > 1 else None,
        "skip": integer_of(tree.get("clip_skip")) or 0,
    }
    return _generation(
        "Fooocus",
        {**tree, **named},
        _named(tree.get("base_model"), tree.get("base_model_hash")),
        [(str(each[0]), each[1], each[2] if len(each) > 2 else None) for each in loras],  # noqa: PLR2004
        _rest(tree, rest),
    )


def _swarm(tree: Mapping[str, Any], models: Sequence[Any]) -> Generation:
    files = [mapping(model) for model in models]
    hashes = {(str(file.get("param")), _bare(file.get("name"))): file.get("hash") for file in files}
    weights, names = _listed(tree.get("loraweights")), [str(each) for each in _listed(tree.get("loras"))]
    flux = number_of(tree.get("fluxguidancescale"))
    stop = integer_of(tree.get("clipstopatlayer"))
    named = {
        "negative": tree.get("negativeprompt"),
        "guidance": tree.get("cfgscale") if flux is None else flux,
        "skip": 0 if stop is None else -stop,
    }
    loras = [
        (name, weights[place] if place < len(weights) else 1, hashes.get(("loras", _bare(name))))
        for place, name in enumerate(names)
    ]
    found = _generation(
        "SwarmUI",
        {**tree, **named},
        _named(tree.get("model"), hashes.get(("model", _bare(tree.get("model"))))),
        loras,
        _rest(tree, [key for key in tree if key not in _SWARM]),
    )
    return replace(found, flow=flux is not None)


def _novelai(tree: Mapping[str, Any]) -> Generation:
    named = {
        "negative": tree.get("uc"),
        "guidance": tree.get("scale"),
        "skip": 0,
        "scheduler": tree.get("noise_schedule"),
    }
    lost = ["NovelAI's model, which is not published", *_rest(tree, [key for key in tree if key not in _NOVELAI])]
    return _generation("NovelAI", {**tree, **named}, None, [], lost)


def _listed(value: Any) -> Sequence[Any]:
    """A list, or a text of parts between commas."""
    return [part.strip() for part in value.split(",")] if isinstance(value, str) and value else sequence(value)


def _bare(name: Any) -> str:
    return re.sub(r"\.(safetensors|sft|ckpt)$", "", str(name))


def _generation(
    program: str,
    values: Mapping[str, Any],
    base: ForeignModel | None,
    loras: list[tuple[str, Any, Any]],
    lost: list[str],
) -> Generation:
    """A generation of values under common names; a LoRA is its name, weight and hash."""
    prompt = plain_prompt(str(values.get("prompt") or ""), "a1111")
    avoided = plain_prompt(str(values.get("negative") or ""), "a1111", "the negative prompt")
    seed, skip = integer_of(values.get("seed")), values["skip"]
    sampling: dict[str, Json] = {
        "num_inference_steps": integer_of(values.get("steps")),
        "guidance_scale": number_of(values.get("guidance")),
        "height": integer_of(values.get("height")),
        "width": integer_of(values.get("width")),
        "clip_skip": skip - 1 if skip > 1 else None,
    }
    adapters = [
        ForeignAdapter(
            kind="lora",
            model=ForeignModel(name=name, hashes={"hash": str(hashed)} if hashed else {}),
            scale=1.0 if (scale := number_of(weight)) is None else float(scale),
        )
        for name, weight, hashed in loras
        if name and name != "None"
    ]
    vae = text_of(values.get("vae"))
    return Generation(
        program=program,
        prompts={"prompt": prompt.text, **({"negative_prompt": avoided.text} if avoided.text else {})},
        seeds=() if seed is None else (seed,),
        sampling={name: value for name, value in sampling.items() if value is not None},
        sampler=text_of(values.get("sampler")),
        schedule=str(values.get("scheduler") or ""),
        base=base,
        components={"vae": ForeignModel(name=vae)} if vae and not vae.lower().startswith(_NO_VAE) else {},
        adapters=(*prompt.adapters, *adapters),
        lost=(*prompt.lost, *avoided.lost, *lost),
    )


def _named(name: Any, hashed: Any) -> ForeignModel | None:
    given = text_of(name)
    return None if given is None else ForeignModel(name=given, hashes={"hash": str(hashed)} if hashed else {})


def _rest(tree: Mapping[str, Any], keys: list[str]) -> list[str]:
    return [f"{key}: {str(tree[key])[:120]}" for key in keys if tree[key] not in (None, "", [], False)]
