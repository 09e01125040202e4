"""Small models made for tests, and what `inspect` says of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from recipe_runner.weights.files.contents import read_contents
from recipe_runner.weights.identify.folder import identify
from recipe_runner.weights.identify.identity import identify_contents


@pytest.mark.parametrize(
    ("name", "family", "denoiser"),
    [("sd15", None, "unet"), ("sdxl", "sdxl", "unet"), ("sd3", "sd3", "transformer"), ("flux", "flux1", "transformer")],
)
def test_small_models_are_told_by_their_names(
    name: str, family: str | None, denoiser: str, request: pytest.FixtureRequest
) -> None:
    folder: Path = request.getfixturevalue(f"{name}_folder")
    (whole_folder,) = identify(folder)
    assert (whole_folder.kind, whole_folder.family, whole_folder.broken) == ("pipeline", family, "")
    (alone,) = identify(folder / denoiser)
    assert (alone.kind, alone.family) == (denoiser, family)
    file = folder / denoiser / "diffusion_pytorch_model.safetensors"
    assert identify_contents("x", read_contents(file)).family == family
    for part, kind in (("vae", "vae"), ("text_encoder", "text_encoder"), ("scheduler", "scheduler")):
        assert identify(folder / part)[0].kind == kind
