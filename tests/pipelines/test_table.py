"""The shipped table of diffusers' classes is what the installed diffusers says."""

from __future__ import annotations

import pytest

from recipe_runner.pipelines import library_classes
from recipe_runner.pipelines import table as diffusers_table
from recipe_runner.runtime import write_class_table as class_table
from recipe_runner.runtime import write_table as table


def test_the_table_is_current() -> None:
    assert table.FILE.read_text(encoding="utf-8") == table.table_text(), (
        "run python -m recipe_runner.runtime.write_table"
    )


def test_the_table_of_classes_is_current() -> None:
    said = "run python -m recipe_runner.runtime.write_class_table"
    assert class_table.FILE.read_text(encoding="utf-8") == class_table.classes_text(), said


def test_classes_of_pipelines_are_concrete_or_say_that_they_choose() -> None:
    hints = {
        name
        for entry in diffusers_table.pipelines().values()
        for component in entry["components"].values()
        for name in component["classes"]
    }
    unknown = {name for name in hints if library_classes.kind_anywhere(name) is None}
    endings = ("PreTrainedModel", "TokenizerBase", "Backend", "Mixin", "Schedulers")
    left = {name for name in unknown if not name.startswith("Auto") and not name.endswith(endings)}
    # Of modules that need more packages, or that no pipeline folder names.
    assert left == {
        "CosmosSafetyChecker", "PaellaVQModel", "RobertaSeriesModelWithTransformation",
        "SafeStableDiffusionSafetyChecker", "UNetFlatConditionModel", "WuerstchenDiffNeXt", "WuerstchenPrior",
    }  # fmt: skip


def test_it_has_what_auto_pipelines_make() -> None:
    from diffusers.pipelines.auto_pipeline import AUTO_TEXT2IMAGE_PIPELINES_MAPPING

    made = {cls.__name__ for cls in AUTO_TEXT2IMAGE_PIPELINES_MAPPING.values()}
    # Those with a control image, or of videos, do not draw from text alone.
    missing = {name for name in made if name not in diffusers_table.pipelines()}
    assert all("Control" in name or "Helios" in name for name in missing)


@pytest.mark.parametrize(
    ("pipeline", "lora", "mixins"),
    [
        ("StableDiffusionPipeline", ["unet", "text_encoder"], (True, True, True)),
        ("StableDiffusionXLPipeline", ["unet", "text_encoder", "text_encoder_2"], (True, True, True)),
        ("StableDiffusion3Pipeline", ["transformer", "text_encoder", "text_encoder_2"], (False, True, True)),
        ("FluxPipeline", ["transformer", "text_encoder"], (True, True, True)),
        ("PixArtSigmaPipeline", [], (False, False, False)),
    ],
)
def test_what_pipelines_take(pipeline: str, lora: list[str], mixins: tuple[bool, bool, bool]) -> None:
    entry = diffusers_table.pipelines()[pipeline]
    assert entry["lora"] == lora
    assert tuple(entry["mixins"][name] for name in ("textual_inversion", "ip_adapter", "single_file")) == mixins


def test_components_and_schedulers() -> None:
    components = diffusers_table.pipelines()["StableDiffusionPipeline"]["components"]
    assert components["vae"] == {"classes": ["AutoencoderKL"], "optional": False}
    assert components["safety_checker"] == {"classes": ["StableDiffusionSafetyChecker"], "optional": True}
    assert "requires_safety_checker" not in components
    ddim = diffusers_table.schedulers()["DDIMScheduler"]
    assert ddim["generator"]
    assert ddim["config"]["num_train_timesteps"] == 1000
    assert "EulerDiscreteScheduler" in ddim["compatibles"]
    assert "StableDiffusionInpaintPipeline" in diffusers_table.other_pipelines()


def test_sampling_gets_defaults_and_nothing_that_is_supplied() -> None:
    defaults = diffusers_table.call_defaults("StableDiffusionPipeline")
    assert defaults == {"num_inference_steps": 50, "guidance_scale": 7.5, "eta": 0.0, "guidance_rescale": 0.0}
    assert diffusers_table.call_defaults("NoSuchPipeline") == {}
    every = diffusers_table.call_parameters(None)
    assert {"true_cfg_scale", "guidance_scale", "clip_skip"} <= set(every)
    for name in every:
        assert diffusers_table.where_supplied(name) is None
        assert "embeds" not in name or name in {"source_embeds", "target_embeds"}
