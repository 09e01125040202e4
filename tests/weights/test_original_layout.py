"""Single files of SD 1, SD 2 and SDXL, as many programs save them: what is in them is told from names and shapes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.original import original_shapes
from support.sparse import write_sparse

from recipe_runner.actions.check_weights import weights_problems
from recipe_runner.plan.adapters.base_modules import base_modules
from recipe_runner.plan.resolve import resolve
from recipe_runner.problems.problem import RecipeRunnerError
from recipe_runner.recipe.load import read_document
from recipe_runner.recipe.matrix import variants
from recipe_runner.weights.checkpoint.original_layout import (
    is_leftover,
    original_tensors,
    require_original,
    standard_name,
)
from recipe_runner.weights.files.digests import unhashed

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from recipe_runner.plan.resolved_base import ResolvedBase
    from recipe_runner.weights.modules import Shape

UNET = "model.diffusion_model."
OUT = f"{UNET}out.2.bias"
LEFT: dict[str, dict[str, Shape]] = {
    "training": {"model_ema.diffusion_modelout2bias": (4,), "model_ema.decay": (), "betas": (1000,),
                 "log_one_minus_alphas_cumprod": (1000,), "first_stage_model.loss.logvar": ()},
    "sampling": {"denoiser.sigmas": (1000,), "v_pred": (), "ztsnr": ()},
    "JoePenna's DreamBooth": {"embedding_manager.string_to_param_dict.*": (1, 768),
                              "embedding_manager.embedder.transformer.text_model.embeddings.position_ids": (1, 77)},
    "ComfyUI": {"cond_stage_model.logit_scale": (), "cond_stage_model.clip_l.logit_scale": (),
                "cond_stage_model.clip_l.text_projection": (768, 768),
                "cond_stage_model.transformer.text_projection.weight": (768, 768)},
    "a whole CLIP": {"cond_stage_model.transformer.vision_model.embeddings.class_embedding": (1024,)},
}  # fmt: skip


def recipe(folder: Path, base: str) -> Path:
    path = folder / "recipe.yaml"
    path.write_text(f"recipe: 1\nname: x\nbase: {base}\nprompts: [{{prompt: a bear}}]\n")
    return path


def resolved_base(path: Path) -> ResolvedBase:
    """The base of a recipe; the zeros in its file are not hashed."""
    document = read_document(path, ())
    with unhashed():
        return resolve(document, variants(document)).variants[0].base


def codes(folder: Path, shapes: dict[str, Shape], more: str = "") -> list[str]:
    """What `validate --weights` says of a base with these tensors."""
    write_sparse(folder / "x.safetensors", shapes)
    return [problem.code for problem in weights_problems(recipe(folder, f"{{model: x.safetensors{more}}}"))]


@pytest.mark.parametrize("family", ["sd1", "sd2", "sdxl"])
def test_the_shipped_tables_are_what_the_models_have(family: str) -> None:
    shapes = original_shapes(family)
    assert original_tensors(family) == {key: shape for key, shape in shapes.items() if not is_leftover(key)}
    require_original("x", family, shapes, ())


@pytest.mark.parametrize("what", LEFT)
def test_what_other_programs_leave_in_a_file_is_no_error(what: str, tmp_path: Path) -> None:
    assert codes(tmp_path, {**original_tensors("sd1"), **LEFT[what]}) == []


def mangled(key: str) -> str:
    return key.replace("transformer.text_model.", "transformer.") if key.startswith("cond_stage_model.") else key


def test_the_names_of_the_first_merges_are_read(tmp_path: Path) -> None:
    shapes = {mangled(key): shape for key, shape in original_tensors("sd1").items()}
    assert any(key.startswith("cond_stage_model.transformer.encoder.") for key in shapes)
    assert {standard_name(key): shape for key, shape in shapes.items()} == original_tensors("sd1")
    assert codes(tmp_path, shapes) == []
    write_sparse(tmp_path / "usual.safetensors", original_tensors("sd1"))
    tables = [
        base_modules(resolved_base(recipe(tmp_path, f"{{model: {name}}}")))
        for name in ("x.safetensors", "usual.safetensors")
    ]
    assert tables[0] == tables[1]


def test_metadata_that_say_v_are_told_and_not_believed(tmp_path: Path) -> None:
    metadata = {"modelspec.prediction_type": "v"}
    write_sparse(tmp_path / "xl.safetensors", original_tensors("sdxl"), metadata)
    (problem,) = weights_problems(recipe(tmp_path, "{model: xl.safetensors}"))
    assert (problem.code, "its metadata say that it predicts v" in problem.message) == ("W509", True)
    write_sparse(tmp_path / "xl.safetensors", {**original_tensors("sdxl"), "v_pred": ()}, metadata)
    assert weights_problems(tmp_path / "recipe.yaml") == ()


def test_stable_diffusion_2_in_the_layout_of_sgm_is_read(tmp_path: Path) -> None:
    shapes = {k.replace("cond_stage_model.", "conditioner.embedders.0."): v for k, v in original_shapes("sd2").items()}
    assert codes(tmp_path, shapes) == ["W509"]
    write_sparse(tmp_path / "usual.safetensors", original_shapes("sd2"))
    tables = [
        base_modules(resolved_base(recipe(tmp_path, f"{{model: {name}}}")))
        for name in ("x.safetensors", "usual.safetensors")
    ]
    assert tables[0] == tables[1] is not None


WRONG: dict[str, tuple[str, str, Callable[[dict[str, Shape]], object], str]] = {
    "missing": ("sd1", "E501", lambda shapes: shapes.pop(OUT), "1 of 1130 parameters of sd1 are missing: " + OUT),
    "foreign": ("sd1", "E502", lambda shapes: shapes.update({"foo.bar": (3,)}), "belong to no component: foo.bar"),
    "misshaped": ("sd1", "E503", lambda shapes: shapes.update({OUT: (5,)}), "(5 instead of 4)"),
    "an LCM": ("sdxl", "E502", lambda shapes: shapes.update({UNET + "time_embed.cond_proj.weight": (320, 9)}), "cond"),
    "Playground": ("sdxl", "E419", lambda shapes: shapes.update({"edm_mean": (1, 4, 1, 1)}), "Playground v2.5"),
    "CosXL": ("sdxl", "E419", lambda shapes: shapes.update({"edm_vpred.sigma_max": ()}), "EDM's noise levels"),
    "scaled fp8": ("sdxl", "E502", lambda shapes: shapes.update({UNET + "out.2.scale_weight": (1,)}), "scale_weight"),
}  # fmt: skip


@pytest.mark.parametrize("what", WRONG)
def test_what_will_not_load_is_told_while_planning(what: str, tmp_path: Path) -> None:
    family, code, change, said = WRONG[what]
    shapes = dict(original_tensors(family))
    change(shapes)
    assert codes(tmp_path, shapes) == [code]
    (problem,) = weights_problems(tmp_path / "recipe.yaml")
    assert (said in problem.message, problem.line) == (True, 3), problem.message
    if what == "scaled fp8":
        assert "quantised" in problem.hint


def test_a_checkpoint_says_itself_that_it_predicts_v(tmp_path: Path) -> None:
    write_sparse(tmp_path / "noob.safetensors", {**original_tensors("sdxl"), "v_pred": (), "ztsnr": ()})
    path = recipe(tmp_path, "{model: noob.safetensors, scheduler: {config: {prediction_type: epsilon}}}")
    assert resolved_base(path).scheduler_config == {"prediction_type": "epsilon", "rescale_betas_zero_snr": True}
    path = recipe(tmp_path, "{model: noob.safetensors, scheduler: {class: PNDMScheduler}}")
    with pytest.raises(RecipeRunnerError) as caught:
        resolved_base(path)
    (problem,) = caught.value.problems
    assert (problem.code, problem.line, "EulerDiscreteScheduler" in problem.hint) == ("E510", 3, True)


def test_what_stable_diffusion_2_predicts_has_to_be_said(tmp_path: Path) -> None:
    shapes = dict(original_tensors("sd2"))
    assert codes(tmp_path, shapes) == ["W509"]
    assert codes(tmp_path, shapes, ", scheduler: {config: {prediction_type: epsilon}}") == []
