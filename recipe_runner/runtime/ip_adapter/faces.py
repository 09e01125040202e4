"""Find faces in images with insightface (the optional extra `faceid`). Its models are not part of any package."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from recipe_runner.images.read import read_picture
from recipe_runner.problems.problem import OperationFailed
from recipe_runner.problems.wording import some
from recipe_runner.runtime.device.environment import quiet
from recipe_runner.runtime.load.file_guard import Watch, unchanged
from recipe_runner.runtime.lru import Lru
from recipe_runner.sources.face_models import PACK
from recipe_runner.sources.source import Source

CROP = 224
"""Height and width of a face crop for FaceID Plus."""
MOST_KEPT = 64
"""Faces that are cached, so that a sweep finds each once."""
_DETECTION = (640, 640)
_TASKS = ("detection", "recognition")


@dataclass(frozen=True)
class Face:
    """A face: its embedding [512] of length 1, and its crop turned upright."""

    embedding: torch.Tensor
    image: Image.Image


class FaceFinder:
    """insightface with its models, loaded for the first image. Always on the CPU, since 2.0 with one thread."""

    def __init__(self) -> None:
        """Nothing is loaded yet."""
        self._loaded: _Loaded | None = None
        self._found: Lru[tuple[str, str], Face] = Lru(MOST_KEPT)

    def find(self, images: Sequence[Source], models: Source) -> list[Face]:
        """The one face of each image, by the steps of diffusers' guide.

        Raises:
            OperationFailed: E651 insightface or its models cannot be loaded; E652 an image has no face, or several.
            RecipeRunnerError: E508 a file changed, E648 an image cannot be read.
        """
        return [self._face(image, models) for image in images]

    def clear(self) -> None:
        """Drop the models and every face."""
        self._loaded = None
        self._found.clear()

    def _face(self, source: Source, models: Source) -> Face:
        return self._found.get((models.digest, source.digest), lambda: self._look(source, models))

    def _look(self, source: Source, models: Source) -> Face:
        if self._loaded is None or self._loaded.digest != models.digest:
            self._loaded = _load(models)
        with unchanged(source):
            image = read_picture(source.path(source.files[0].name), source.address)
        return self._loaded.face(image, source.address)


@dataclass(frozen=True)
class _Loaded:
    digest: str
    watch: Watch
    analysis: Any
    align: Any

    def face(self, image: Image.Image, name: str) -> Face:
        # insightface reads blue, green, red. diffusers' guide gives the image encoder the crop in that order too, as
        # the adapter's authors do (https://huggingface.co/h94/IP-Adapter-FaceID).
        pixels = np.ascontiguousarray(np.asarray(image)[..., ::-1])
        with _silent():
            faces: Sequence[Any] = []
            # insightface fails if an image shrinks to less than a pixel in height or width.
            if min(image.size) * max(_DETECTION) >= max(image.size):
                faces = self.analysis.get(pixels)
            # insightface reads a model again for the first image.
            self.watch.check()
            if len(faces) != 1:
                raise _not_one(name, faces)
            crop = self.align.norm_crop(pixels, landmark=faces[0].kps, image_size=CROP)
            embedding = np.asarray(faces[0].normed_embedding, np.float32)
        return Face(torch.from_numpy(embedding), Image.fromarray(crop))


def _not_one(name: str, faces: Sequence[Any]) -> OperationFailed:
    otherwise = "or give the embedding as `image_embeds`"
    if not faces:
        return OperationFailed.of(
            "E652",
            f"{name}: no face found in the image, expected one",
            f"show the face upright with some room around it, {otherwise}",
        )
    places = some([_place(face.bbox) for face in faces])
    return OperationFailed.of(
        "E652",
        f"{name}: {len(faces)} faces found in the image, expected one ({places})",
        f"crop the image to one face with some room around it, {otherwise}",
    )


def _place(box: Any) -> str:
    left, top, right, bottom = map(round, map(float, box))
    return f"{right - left}x{bottom - top} pixels at {left},{top}"


@contextmanager
def _silent() -> Iterator[None]:
    # insightface prints its progress before version 2, but standard output is for results.
    with quiet(), redirect_stdout(io.StringIO()):
        yield


def _load(models: Source) -> _Loaded:
    with unchanged(models) as (watch,):
        analysis, align = _read_models(models.root / "models" / PACK)
    return _Loaded(models.digest, watch, analysis, align)


def _read_models(folder: Path) -> tuple[Any, Any]:
    """Insightface's analysis with the models in a folder, and its module that crops faces."""
    # Before version 1 insightface imports a library that checks online for updates.
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
    try:
        with _silent():
            application = import_module("insightface.app")
            align = import_module("insightface.utils.face_align")
            options = import_module("onnxruntime").SessionOptions()
            # The distribution of work among threads can change the last bits.
            options.intra_op_num_threads = 1
            # With the path of a folder, insightface neither searches nor downloads models.
            analysis = application.FaceAnalysis(
                name=str(folder.absolute()),
                allowed_modules=list(_TASKS),
                providers=["CPUExecutionProvider"],
                sess_options=options,
            )
            analysis.prepare(ctx_id=-1, det_size=_DETECTION)
    except ImportError as cause:
        hint = "the installation of the extra `faceid` is broken; OpenCV's wheel needs the system's libGL"
        raise OperationFailed.of("E651", f"insightface cannot be imported: {cause}", hint) from cause
    except AssertionError as cause:
        raise _unusable(folder, "there is no model for detection") from cause
    except _rejections() as cause:
        raise _unusable(folder, f"a model cannot be read: {str(cause).splitlines()[0]}") from cause
    for task in _TASKS:
        if task not in analysis.models:
            raise _unusable(folder, f"there is no model for {task}")
    return analysis, align


def _rejections() -> tuple[type[Exception], ...]:
    """The exceptions of onnxruntime for a broken or truncated file; they have no base class of their own."""
    raised = import_module("onnxruntime.capi.onnxruntime_pybind11_state")
    return raised.InvalidProtobuf, raised.InvalidGraph, raised.InvalidArgument, raised.Fail


def _unusable(folder: Path, what: str) -> OperationFailed:
    return OperationFailed.of(
        "E651",
        f"{folder}: {what}",
        f"unpack {PACK}.zip of insightface's releases there again: det_10g.onnx detects faces, w600k_r50.onnx "
        "recognises them",
    )
