"""FaceID rows of the guide from pictures alone: insightface's own steps, and a recipe's pictures bit for bit."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from support.faces import build_face_models, need_insightface, write_face, write_turned
from support.ip_adapters import build_image_encoder, tiny_shapes, write_ip_adapter
from support.parity import recipe_pictures, scripts_pictures
from support.plain import plain_pipeline

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

ROWS = {
    "ip_adapter_face_id_found": """\
adapters:
  face: {kind: ip_adapter, model: faceid.safetensors, scale: 0.6, image: [anna.png, turned.jpg]}
prompts: [{prompt: a red star}]
seeds: [1]
""",
    "ip_adapter_face_id_plus_found": """\
adapters:
  face:
    kind: ip_adapter
    model: faceid-plusv2.safetensors
    image_encoder: {model: image_encoder}
    scale: 0.6
    image: turned.jpg
prompts: [{prompt: a red star}]
seeds: [1]
matrix:
  adapters.face.shortcut: [false, true]
""",
}


@pytest.fixture(scope="module")
def files(sd15_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models of insightface, two IP-Adapters and two faces, one of which a camera held on its side took."""
    need_insightface()
    folder = tmp_path_factory.mktemp("faces")
    (folder / "model").symlink_to(sd15_folder)
    unet = plain_pipeline(sd15_folder).unet
    build_image_encoder(folder / "image_encoder")
    write_ip_adapter(folder / "faceid.safetensors", tiny_shapes("faceid", unet, lora=4), 5)
    write_ip_adapter(folder / "faceid-plusv2.safetensors", tiny_shapes("faceid_plus", unet, lora=2), 6)
    build_face_models(folder / "insightface")
    write_face(folder / "anna.png", (-6, -4), (3, -4))
    write_turned(folder / "turned.jpg", write_face(folder / "bob.png", (-2, 4), at=[(40, 50)]))
    return folder


@pytest.fixture(scope="module")
def plain(files: Path) -> dict[str, NDArray[np.uint8]]:
    """What the plain scripts make."""
    return scripts_pictures(files, list(ROWS))


@pytest.mark.parametrize("row", ROWS)
def test_a_row_of_the_guide(
    row: str, files: Path, plain: dict[str, NDArray[np.uint8]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INSIGHTFACE_HOME", str(files / "insightface"))
    expected = plain[row]
    assert np.array_equal(recipe_pictures(files, ROWS[row]), expected)
    assert expected.std() > 5
    assert len(np.unique(expected, axis=0)) == len(expected)
