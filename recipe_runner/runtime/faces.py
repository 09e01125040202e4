"""Faces in pictures, found by insightface (the optional extra `faceid`). Its models are not part of any package.

Not verified where this was developed: insightface's models could not be had there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np
import torch
from PIL import Image

from recipe_runner.adapters.faces import PACK
from recipe_runner.runtime.environment import quiet
from recipe_runner.runtime.problems import failed
from recipe_runner.sources.source import Source

CROP = 224
"""Height and width of a face cut out for FaceID Plus."""
_DETECTION = (640, 640)


@dataclass(frozen=True)
class Face:
    """A face: its embedding [512] of length 1, and the face cut out and turned upright."""

    embedding: torch.Tensor
    picture: Image.Image


def find_faces(pictures: Sequence[Image.Image], names: Sequence[str], models: Source) -> list[Face]:
    """The one face of each picture, by the steps of diffusers' guide. `names` name the pictures in messages.

    Raises:
        OperationFailed: E652, a picture shows no face, or several.
    """
    application = import_module("insightface.app")
    align = import_module("insightface.utils.face_align")
    with quiet():
        finder = application.FaceAnalysis(
            name=PACK,
            root=str(models.root),
            allowed_modules=["detection", "recognition"],
            providers=["CPUExecutionProvider"],
        )
        finder.prepare(ctx_id=-1, det_size=_DETECTION)
        return [_face(finder, align, picture, name) for picture, name in zip(pictures, names, strict=True)]


def _face(finder: Any, align: Any, picture: Image.Image, name: str) -> Face:
    # insightface reads blue, green, red. The guide gives the image encoder the crop in that order too, as the adapter's
    # authors do (https://huggingface.co/h94/IP-Adapter-FaceID), and so it stays.
    pixels = np.ascontiguousarray(np.asarray(picture)[..., ::-1])
    faces = finder.get(pixels)
    if len(faces) != 1:
        said = f"{len(faces)} faces are" if faces else "no face is"
        hint = "cut the picture so that it shows the one face, or give the embedding as `image_embeds`"
        raise failed("E652", f"{name}: {said} seen in the picture, and one is wanted", hint)
    crop = align.norm_crop(pixels, landmark=faces[0].kps, image_size=CROP)
    return Face(torch.from_numpy(np.asarray(faces[0].normed_embedding, np.float32)), Image.fromarray(crop))
