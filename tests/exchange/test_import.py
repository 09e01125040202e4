"""From a file to a recipe that validates, whatever the file holds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.command import ROOT, call
from support.foreign import png, text_chunk, with_comment
from support.sd_parsers_reader import parse

from recipe_runner.document.document import parse_document
from recipe_runner.exchange.importers.addresses import address_of
from recipe_runner.exchange.importers.find_models import ModelFolders
from recipe_runner.exchange.importers.generation import ForeignAdapter, ForeignGeneration, ForeignModel, ImportRefused
from recipe_runner.exchange.importers.importing import import_bytes
from recipe_runner.exchange.importers.read import generation_of, texts_of
from recipe_runner.exchange.importers.recipe_text import ImportContext, recipe_of
from recipe_runner.images.sampler_names import scheduler_named
from recipe_runner.recipe.load import load_recipe, problems_of
from recipe_runner.weights.files.digests import autov3, file_sha256

if TYPE_CHECKING:
    from recipe_runner.recipe.types.recipe import Recipe

MULTISTEP = "DPMSolverMultistepScheduler"
HERE = ImportContext(folder=Path())
LINE = "Steps: 20, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 7, Seed: 33, Size: 512x768"
TEXTS = ROOT.parent / "shared" / "data" / "pictures" / "texts.json"


def imported(data: bytes | str, source: str = "bear.png") -> Recipe:
    """The recipe of a file, loaded and so checked."""
    recipe = import_bytes(data.encode() if isinstance(data, str) else data, source, HERE)
    return load_recipe(recipe.text)


def test_a_picture_becomes_a_recipe() -> None:
    text = f"a bear <lora:my style:0.8>\nNegative prompt: blurry\n{LINE}, Model: dream, Clip skip: 2"
    recipe = imported(png(text_chunk("parameters", text)), "My Bear (1).png")
    assert recipe.name == "my-bear-1"
    assert recipe.base.model == "dream.safetensors"
    assert recipe.base.scheduler is not None
    assert recipe.base.scheduler.class_name == "DPMSolverMultistepScheduler"
    assert recipe.base.scheduler.config["use_karras_sigmas"] is True
    assert list(recipe.adapters) == ["my-style"]
    assert recipe.adapters["my-style"].model == "my style.safetensors"  # type: ignore[union-attr]
    assert recipe.adapters["my-style"].scale == 0.8  # type: ignore[union-attr]
    assert (recipe.prompts[0].prompt, recipe.prompts[0].negative_prompt, recipe.seeds) == ("a bear", "blurry", (33,))
    assert recipe.sampling.clip_skip == 1
    assert (recipe.sampling.height, recipe.sampling.width) == (768, 512)


def test_the_text_has_hashes_and_losses_as_comments() -> None:
    recipe = import_bytes(
        f"a (red:1.2) bear\n{LINE}, RNG: CPU, Model hash: 6ce0161689, Model: dream, Hires upscale: 2".encode(),
        "x",
        HERE,
    )
    assert recipe.lost == ("the prompt: emphasis such as `(red:1.2)` is read as plain words", "Hires upscale: 2")
    assert recipe.text.startswith("# Not carried over:\n# - the prompt: emphasis")
    assert "base:\n  # Model hash 6ce0161689\n  model: dream.safetensors\n" in recipe.text


@pytest.mark.parametrize(
    ("parameters", "skip"),
    [
        ("Size: 512x768, Model: dream", 1),
        ("Size: 1024x1024, Model: ponyDiffusionV6XL", None),
        ("Size: 832x1216", None),
        ("Size: 512x512", 1),
        ("Size: 1024x1024, Model: flux_dev, Distilled CFG Scale: 3.5", None),
    ],
)
def test_clip_skip_is_carried_over_where_diffusers_means_the_same(parameters: str, skip: int | None) -> None:
    recipe = imported(f"a\nSteps: 20, Sampler: Euler, Seed: 1, Clip skip: 2, {parameters}")
    assert recipe.sampling.clip_skip == skip


@pytest.mark.skipif(not TEXTS.is_file(), reason="the texts of real pictures are not here")
def test_real_texts_make_valid_recipes() -> None:
    entries = json.loads(TEXTS.read_text(encoding="utf-8"))
    assert entries
    for entry in entries:
        data = png(*(text_chunk(name, text) for name, (_, text) in entry["text"].items()))
        found = generation_of(data, texts_of(data))
        recipe = imported(data, entry["path"])
        assert recipe.prompts[0].prompt == found.prompts["prompt"]
        assert recipe.seeds == found.seeds
        assert recipe.sampling.num_inference_steps


@pytest.mark.skipif(not TEXTS.is_file(), reason="the texts of real pictures are not here")
def test_real_texts_are_read_as_sd_parsers_reads_them(tmp_path: Path) -> None:
    compared = 0
    for number, entry in enumerate(json.loads(TEXTS.read_text(encoding="utf-8"))):
        data = png(*(text_chunk(name, text) for name, (_, text) in entry["text"].items()))
        path = tmp_path / f"{number}.png"
        path.write_bytes(data)
        theirs = parse(path)
        ours = generation_of(data, texts_of(data))
        # Of several samplers ours is the first pass, theirs the first in the file; they read no workflow alone.
        if theirs is None or len(theirs.samplers) != 1:
            continue
        sampler = theirs.samplers[0]
        assert str(ours.sampler).removeprefix("sample_") == str(sampler.name).removeprefix("sample_")
        assert str(ours.seeds[0]) == str(sampler.parameters["seed"])
        assert float(str(ours.sampling["guidance_scale"])) == float(sampler.parameters["cfg_scale"])
        assert int(str(ours.sampling["num_inference_steps"])) == int(sampler.parameters["steps"])
        compared += 1
    assert compared >= 10


PROMPTS = st.text(max_size=400) | st.sampled_from(
    [
        "no", "null", "1e5", "0o17", "- a: b", "{a: [b", "# not a comment", "a: b # c", "'", '"', "\\", "|\n  x\n",
        ">-", "---",
        "...", "*x", "&x y", "!!python/object:os.system", "@x", "`x`", "%YAML 1.1", "a\tb", " leading", "trailing ",
        "\n\n",
        "\x00", "\x85", "\u2028", "\ufeff", "\ud800", "🐻", "a\rb", "?", "<<: *a", "12:30:45", "~",
    ]
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(prompt=PROMPTS, negative=PROMPTS, name=PROMPTS, token=PROMPTS, note=PROMPTS)
def test_any_text_makes_a_recipe_that_says_just_it(
    prompt: str, negative: str, name: str, token: str, note: str
) -> None:
    made = ForeignGeneration(
        program="test",
        prompts={"prompt": prompt, "negative_prompt": negative},
        sampling={"num_inference_steps": 3},
        sampler=note,
        base=ForeignModel(name=name, hashes={note: name}),
        components={"vae": ForeignModel(name=token, options={"revision": note})},
        adapters=(
            ForeignAdapter(kind="lora", model=ForeignModel(name=name), scale=0.5),
            ForeignAdapter(kind="lora", model=ForeignModel(name=name), scale={"unet": 1.0, "text_encoder": -1.0}),
            ForeignAdapter(kind="textual_inversion", model=ForeignModel(name=name), token=token),
            ForeignAdapter(kind="textual_inversion", model=ForeignModel(name=note), token=token),
        ),
        lost=(note,),
    )
    recipe = recipe_of(made, name or "x", HERE)
    problems = problems_of(parse_document(recipe.text.encode(), "x"))
    assert [problem for problem in problems if problem.severity == "error"] == []
    loaded = load_recipe(recipe.text)
    expected = prompt.replace("\r\n", "\n").replace("\r", "\n").replace("\0", "").replace("\ufeff", "")
    assert loaded.prompts[0].prompt == expected.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=30),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=5),
    max_leaves=12,
)
KEYS = st.sampled_from(
    [
        "prompt", "nodes", "links", "steps", "image", "positive_prompt", "generation_mode", "sui_image_params",
        "base_model",
        "model", "loras", "seed", "width", "inputs", "class_type", "pipeline", "arguments", "variables", "parameters",
        "id",
        "widgets_values", "type", "latent_image", "positive", "sampler_name", "scheduler", "vae", "1", "2",
    ]
)  # fmt: skip
TREES = st.dictionaries(
    KEYS, VALUES | st.dictionaries(KEYS, VALUES, max_size=6) | st.lists(VALUES, max_size=3), max_size=8
)


def refusal(data: bytes) -> str | None:
    """The code with which the bytes are refused; None when they make a recipe that loads."""
    try:
        recipe = import_bytes(data, "x", HERE)
    except ImportRefused as error:
        return error.problems[0].code
    load_recipe(recipe.text)
    return None


@settings(max_examples=200, deadline=None)
@given(tree=TREES)
def test_any_json_is_imported_or_refused(tree: dict[str, Any]) -> None:
    assert refusal(json.dumps(tree).encode()) in (None, "E850", "E853")


def test_a_setting_that_no_scheduler_has_is_reported() -> None:
    made = ForeignGeneration(program="test", prompts={"prompt": "a"}, scheduler=(None, {"nonsense": 1}))
    assert "nonsense, which no scheduler has" in recipe_of(made, "x", HERE).lost


PAIRS = st.dictionaries(
    st.sampled_from(
        ["Steps", "Seed", "Size", "CFG scale", "Clip skip", "Eta", "Model", "Sampler", "VAE", "Lora hashes", "Pipeline"]
    ),
    st.text(max_size=20) | st.integers() | st.floats() | st.just("9" * 5000),
    min_size=3,
)


@settings(max_examples=100, deadline=None)
@given(values=PAIRS)
def test_any_values_of_parameters_are_imported_or_refused(values: dict[str, Any]) -> None:
    text = "a bear\n" + ", ".join(f"{key}: {value}" for key, value in values.items())
    assert refusal(text.encode("utf-8", "replace")) in (None, "E850", "E853")


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "E850"),
        (b"hello", "E850"),
        (b"[1, 2]", "E850"),
        (b"\x00\x01\x02\xff", "E852"),
        (b"\xff\xd8\xff\xe0broken", "E851"),
        (png(), "E850"),
        (png((b"tEXt", b"Comment\0made with love")), "E850"),
        (b'{"positive_prompt": ""}', "E853"),
        (b"[" * 100_000, "E850"),
        (b'{"a":' * 100_000, "E850"),
        (b'{"prompt": ' + b"9" * 10_000 + b"}", "E850"),
        (with_comment("JPEG", b"UNICODE\0"), "E850"),
    ],
)
def test_refusals(data: bytes, code: str) -> None:
    assert refusal(data) == code


@pytest.mark.parametrize(
    ("name", "address"),
    [
        ("dream", "dream.safetensors"),
        ("dream v1.2", "dream v1.2.safetensors"),
        ("SDXL\\dream.safetensors", "SDXL/dream.safetensors"),
        ("/etc/passwd", "etc/passwd.safetensors"),
        ("../../secret.safetensors", "secret.safetensors"),
        ("~/x", "x.safetensors"),
        ("C:\\models\\dream.ckpt", "models/dream.safetensors"),
        ("https://example.org/a/evil.safetensors?x=1", "evil.safetensors"),
        ("Diffusers/stabilityai/sdxl-base [f898d1a2b3]", "stabilityai/sdxl-base"),
        ("", "unknown-model.safetensors"),
        ("..", "unknown-model.safetensors"),
        ("a\nb\x00", "ab.safetensors"),
    ],
)
def test_names_of_strangers_never_leave_the_folder(name: str, address: str) -> None:
    assert address_of(ForeignModel(name=name))[0] == address


@pytest.mark.parametrize(
    ("sampler", "schedule", "scheduler", "config"),
    [
        ("Euler a", "", "EulerAncestralDiscreteScheduler", {}),
        ("DPM++ 2M Karras", "", MULTISTEP, {"algorithm_type": "dpmsolver++", "use_karras_sigmas": True}),
        ("DPM++ 2M SDE", "Beta", MULTISTEP, {"algorithm_type": "sde-dpmsolver++", "use_beta_sigmas": True}),
        ("dpmpp_2m_k", "", MULTISTEP, {"algorithm_type": "dpmsolver++", "use_karras_sigmas": True}),
        ("uni_pc", "normal", "UniPCMultistepScheduler", {"solver_type": "bh1"}),
        ("k_euler_a", "", "EulerAncestralDiscreteScheduler", {}),
        ("Heun", "", "HeunDiscreteScheduler", {}),
        ("heun", "karras", "HeunDiscreteScheduler", {"use_karras_sigmas": True}),
        ("k_heun", "", "HeunDiscreteScheduler", {}),
        ("FlowMatchHeunDiscreteScheduler", "", "FlowMatchHeunDiscreteScheduler", {}),
        ("euler", "sgm_uniform", "EulerDiscreteScheduler", {"timestep_spacing": "trailing"}),
        ("DPM++ SDE", "", "DPMSolverSinglestepScheduler", {}),
        ("FlowMatchEulerDiscreteScheduler", "", "FlowMatchEulerDiscreteScheduler", {}),
    ],
)  # fmt: skip
def test_samplers_by_every_program_s_name(sampler: str, schedule: str, scheduler: str, config: dict[str, Any]) -> None:
    found = scheduler_named(sampler, schedule)
    assert found is not None
    assert (found.class_name, dict(found.config), found.notes) == (scheduler, config, ())


def test_an_unknown_sampler_is_none_and_a_near_one_is_reported() -> None:
    assert scheduler_named("Restart") is None
    near = scheduler_named("DPM++ 2S a Karras")
    assert near is not None
    assert near.notes == ("diffusers has no DPM++ 2S a; this is the nearest",)


def test_models_are_found_by_name_and_by_hash(tmp_path: Path) -> None:
    outline = ROOT / "recipes" / "demo" / "lora" / "outline.safetensors"
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "Renamed.safetensors").write_bytes(outline.read_bytes())
    (tmp_path / "models" / "style.safetensors").write_bytes(b"another file")
    folders = ModelFolders((tmp_path / "models",))
    found = tmp_path / "models" / "Renamed.safetensors"
    assert folders.find(ForeignModel(name="renamed")) == found
    assert folders.find(ForeignModel(name="style", hashes={"AutoV3": autov3(outline)[:12]})) == found
    assert folders.find(ForeignModel(name="x", hashes={"Model hash": file_sha256(outline)[:10]})) == found
    assert folders.find(ForeignModel(name="renamed", hashes={"sha256": "0" * 12})) is None
    assert folders.find(ForeignModel(name="nowhere")) is None


def test_a_comment_says_how_a_file_was_found(tmp_path: Path) -> None:
    outline = ROOT / "recipes" / "demo" / "lora" / "outline.safetensors"
    (tmp_path / "Renamed.safetensors").write_bytes(outline.read_bytes())
    context = ImportContext(folder=tmp_path, models=ModelFolders((tmp_path,)))
    text = f"a <lora:style:1> <lora:sub/renamed:1>\n{LINE}, RNG: CPU, Lora hashes: style: {autov3(outline)[:12]}"
    recipe = import_bytes(text.encode(), "x.txt", context)
    assert "# the adapter style was found by hash: style\n" in recipe.text
    assert "# the adapter renamed was found by name: sub/renamed\n" in recipe.text
    adapters = load_recipe(recipe.text).adapters.values()
    assert [adapter.model_dump()["model"] for adapter in adapters] == ["Renamed.safetensors"] * 2


def test_the_command(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    picture, other = tmp_path / "a.png", tmp_path / "b.txt"
    picture.write_bytes(png(text_chunk("parameters", f"a [red] bear\n{LINE}, RNG: CPU, Model: dream")))
    other.write_text(f"a tree\n{LINE}, RNG: CPU, Model: dream")
    printed = call(capsys, "import", str(picture))
    assert printed.status == 0
    assert load_recipe(printed.out).prompts[0].prompt == "a [red] bear"
    assert "warning[W850]: not carried over: the prompt: emphasis `[red]` is read as plain words\n" in printed.err
    answer = call(capsys, "import", str(picture), str(other), str(tmp_path / "none.png"), "-o", str(tmp_path / "out"))
    assert answer.status == 3
    assert answer.out == f"{tmp_path}/out/a.yaml\n{tmp_path}/out/b.yaml\n"
    assert "none.png: error[E855]: cannot be read: No such file or directory" in answer.err
    again = call(capsys, "import", str(other), "-o", str(tmp_path / "out"), "--base", "demo/model", "--format", "json")
    assert again.status == 1
    assert json.loads(again.out)["problems"][0]["code"] == "E902"
    forced = call(
        capsys, "import", str(other), "-o", str(tmp_path / "out"), "--force", "--base", "demo/model", "--format", "json"
    )
    (recipe,) = json.loads(forced.out)["recipes"]
    assert (recipe["source"], recipe["program"], recipe["lost"]) == (str(other), "A1111", [])
    assert load_recipe(recipe["path"]).base.model == "demo/model"
