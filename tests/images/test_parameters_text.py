"""The `parameters` text, as others read it: sd-parsers from PyPI, and the grammar of A1111's own reader."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.records import PLAN, sha256
from support.sd_parsers_reader import parse

import recipe_runner
from recipe_runner.images import sampler_names as samplers
from recipe_runner.images.encode import Format, encode
from recipe_runner.images.metadata import Metadata, add_metadata
from recipe_runner.images.parameters_text import Generation, UsedLora, parameters_text, quote
from recipe_runner.images.sampler_names import sampler_name, schedule_type

if TYPE_CHECKING:
    from recipe_runner.canonical import Json

MODEL, LORA, TOKEN = sha256("model"), sha256("lora"), sha256("token")
PLAIN = Generation(prompt="a bear", steps=20, scheduler_class="DDIMScheduler", seed=33, width=64, height=48)
FULL = Generation(
    prompt="bears, pizza bites",
    negative_prompt="EasyNegative",
    steps=20,
    scheduler_class="DPMSolverMultistepScheduler",
    scheduler_config={"use_karras_sigmas": True},
    guidance_scale=7.5,
    seed=33,
    width=1024,
    height=768,
    model_name="dream-v1",
    model_sha256=MODEL,
    vae_name="fix, v2",
    vae_sha256=sha256("vae"),
    clip_skip=1,
    loras=(UsedLora(name="cereal", autov3=LORA, scale=0.5), UsedLora(name="off", autov3=LORA, scale=0.0)),
    embeddings=(("EasyNegative", TOKEN),),
)


def test_the_whole_text() -> None:
    assert parameters_text(FULL) == (
        "bears, pizza bites <lora:cereal:0.5>\n"
        "Negative prompt: EasyNegative\n"
        "Steps: 20, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 7.5, Seed: 33, Size: 1024x768, "
        f'Model hash: {MODEL[:10]}, Model: dream-v1, VAE hash: {sha256("vae")[:10]}, VAE: "fix, v2", Clip skip: 2, '
        f'RNG: CPU, Lora hashes: "cereal: {LORA[:12]}", TI hashes: "EasyNegative: {TOKEN[:12]}", '
        f'Version: recipe_runner, Hashes: {{"model": "{MODEL[:10]}", "vae": "{sha256("vae")[:10]}", '
        f'"lora:cereal": "{LORA[:12]}", "embed:EasyNegative": "{TOKEN[:12]}"}}'
    )


def test_what_is_not_known_is_left_out() -> None:
    assert parameters_text(PLAIN) == (
        "a bear\nSteps: 20, Sampler: DDIM, Seed: 33, Size: 64x48, RNG: CPU, Version: recipe_runner"
    )
    assert parameters_text(replace(PLAIN, prompt="", guidance_scale=1.0)).startswith("Steps: 20, Sampler: DDIM, CFG sc")


@pytest.mark.parametrize(
    ("scale", "tag"),
    [
        (1.0, "<lora:x:1>"),
        (1, "<lora:x:1>"),
        (-0.25, "<lora:x:-0.25>"),
        ({"unet": 0.9, "text_encoder": 0.5}, "<lora:x:0.5:0.9>"),
        ({"unet": 0.9}, "<lora:x:1:0.9>"),
        ({"transformer": 0.9}, "<lora:x:1:0.9>"),
        ({"unet": {"down": 0.9}}, None),
        (None, None),
    ],
)
def test_lora_tags(scale: Json, tag: str | None) -> None:
    text = parameters_text(replace(PLAIN, loras=(UsedLora(name="x", autov3=LORA, scale=scale),)))
    assert text.splitlines()[0] == ("a bear" if tag is None else f"a bear {tag}")
    assert f'Lora hashes: "x: {LORA[:12]}"' in text


@pytest.mark.parametrize("scale", [0, 0.0, {"unet": 0.0, "text_encoder": 0}])
def test_a_lora_of_scale_0_was_not_applied(scale: Json) -> None:
    off = replace(PLAIN, loras=(UsedLora(name="x", autov3=LORA, scale=scale),))
    assert parameters_text(off) == parameters_text(PLAIN)


@pytest.mark.parametrize(
    ("scheduler_class", "config", "sampler", "schedule"),
    [
        ("EulerDiscreteScheduler", {}, "Euler", None),
        ("EulerDiscreteScheduler", {"timestep_spacing": "trailing"}, "Euler", "SGM Uniform"),
        ("EulerAncestralDiscreteScheduler", {"use_beta_sigmas": True}, "Euler a", "Beta"),
        ("DDIMScheduler", {"timestep_spacing": "trailing"}, "DDIM", None),
        ("DPMSolverMultistepScheduler", {}, "DPM++ 2M", None),
        ("DPMSolverMultistepScheduler", {"algorithm_type": "sde-dpmsolver++", "solver_order": 3}, "DPM++ 3M SDE", None),
        ("DPMSolverMultistepScheduler", {"algorithm_type": "dpmsolver"}, "DPMSolverMultistep", None),
        ("DPMSolverMultistepScheduler", {"use_exponential_sigmas": True}, "DPM++ 2M", "Exponential"),
        ("FlowMatchEulerDiscreteScheduler", {}, "Euler", "Simple"),
        ("KDPM2AncestralDiscreteScheduler", {}, "DPM2 a", None),
        ("SASolverScheduler", {}, "SASolver", None),
    ],
)
def test_sampler_names(scheduler_class: str, config: dict[str, Json], sampler: str, schedule: str | None) -> None:
    assert sampler_name(scheduler_class, config) == sampler
    assert schedule_type(scheduler_class, config) == schedule


def test_every_scheduler_with_a_name_is_one_of_diffusers() -> None:
    # DPMSolverSDE and LMS need packages that are not installed, and so are not in the table.
    shipped = json.loads((Path(recipe_runner.__file__).parent / "pipelines/diffusers.json").read_bytes())["schedulers"]
    elsewhere = {"DPMSolverSDEScheduler", "LMSDiscreteScheduler"}
    assert {*(row.scheduler for row in samplers._ROWS), *samplers._MULTISTEP} - elsewhere <= shipped.keys()


PROMPTS = [
    "bears, pizza bites",
    'a "quoted" bear: with colons, commas and {braces}',
    "two\nlines, and\na third",
    "熊はピザを食べる",
    "a bear 🐻 who is naïve",
    "(weighted:1.2), [less], \\(escaped\\)",
]


@pytest.mark.parametrize("name", ["png", "jpeg", "webp"])
@pytest.mark.parametrize("prompt", PROMPTS)
def test_sd_parsers_reads_it(tmp_path: Path, prompt: str, name: Format) -> None:
    text = parameters_text(replace(FULL, prompt=prompt, negative_prompt=prompt[::-1], loras=()))
    path = tmp_path / f"a.{name}"
    picture = encode(np.zeros((48, 64, 3), np.uint8), name)
    path.write_bytes(add_metadata(picture.data, name, Metadata(parameters=text, plan_digest=PLAN)))
    found = parse(path)
    assert found is not None
    (sampler,) = found.samplers
    assert [part.value for part in sampler.prompts] == [prompt]
    assert [part.value for part in sampler.negative_prompts] == [prompt[::-1]]
    assert sampler.name == "DPM++ 2M"
    assert sampler.parameters == {"scheduler": "Karras", "cfg_scale": "7.5", "seed": "33", "steps": "20"}
    assert sampler.model is not None
    assert (sampler.model.name, sampler.model.hash) == ("dream-v1", MODEL[:10])
    assert found.metadata["Size"] == "1024x768"
    assert found.metadata["Hashes"]["embed:EasyNegative"] == TOKEN[:12]


def test_sd_parsers_reads_loras(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    picture = encode(np.zeros((48, 64, 3), np.uint8), "png")
    path.write_bytes(add_metadata(picture.data, "png", Metadata(parameters=parameters_text(FULL))))
    found = parse(path)
    assert found is not None
    assert found.full_prompt == "bears, pizza bites <lora:cereal:0.5>"
    assert found.metadata["Hashes"]["lora:cereal"] == LORA[:12]


# A1111's reader: modules/infotext_utils.py, re_param and unquote.
PARAMETER = re.compile(r'\s*(\w[\w \-/]+):\s*("(?:\\.|[^\\"])+"|[^,]*)(?:,|$)')


def as_a1111_reads(line: str) -> dict[str, str]:
    found = {}
    for key, value in PARAMETER.findall(line):
        quoted = len(value) > 1 and value[0] == value[-1] == '"'
        found[key] = json.loads(value) if quoted else value
    return found


def test_a1111_reads_it() -> None:
    found = as_a1111_reads(parameters_text(FULL).splitlines()[-1])
    assert found["Model"] == "dream-v1"
    assert found["VAE"] == "fix, v2"
    assert found["Lora hashes"] == f"cereal: {LORA[:12]}"
    assert found["Clip skip"] == "2"
    assert found["Version"] == "recipe_runner"


NAMES = st.text(st.characters(exclude_categories=("Cs", "Cc", "Zl", "Zp")), min_size=1, max_size=60).filter(
    lambda name: name == name.strip()
)


@settings(deadline=None, derandomize=True)
@given(name=NAMES, seed=st.integers(0, 2**64 - 1), guidance=st.floats(0, 1e6), steps=st.integers(1, 10_000))
def test_a1111_reads_back_any_values(name: str, seed: int, guidance: float, steps: int) -> None:
    made = replace(PLAIN, model_name=name, seed=seed, guidance_scale=guidance, steps=steps)
    found = as_a1111_reads(parameters_text(made).split("\n")[-1])
    assert found["Model"] == name
    assert int(found["Seed"]) == seed
    assert float(found["CFG scale"]) == guidance
    assert int(found["Steps"]) == steps


def test_quoting_is_a1111s() -> None:
    assert quote("plain text") == "plain text"
    assert quote("a, b") == '"a, b"'
    assert quote("熊: a\nb") == '"熊: a\\nb"'
