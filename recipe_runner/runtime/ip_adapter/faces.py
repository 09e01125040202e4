"""Faces in pictures, found by insightface (the optional extra `faceid`). Its models are not part of any package."""

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
"""Height and width of a face cut out for FaceID Plus."""
MOST_KEPT = 64
"""Faces that are remembered: those of a sweep are found once."""
_DETECTION = (640, 640)
_TASKS = ("detection", "recognition")


@dataclass(frozen=True)
class Face:
    """A face: its embedding [512] of length 1, and the face cut out and turned upright."""

    embedding: torch.Tensor
    picture: Image.Image


class FaceFinder:
    """insightface with its models, loaded for the first picture. Always on the CPU, since 2.0 with one thread."""

    def __init__(self) -> None:
        """Nothing is loaded yet."""
        self._loaded: _Loaded | None = None
        self._found: Lru[tuple[str, str], Face] = Lru(MOST_KEPT)

    def find(self, pictures: Sequence[Source], models: Source) -> list[Face]:
        """The one face of each picture, by the steps of diffusers' guide.

        Raises:
            OperationFailed: E651 insightface or its models cannot be loaded; E652 a picture shows no face, or several.
            RecipeRunnerError: E508 a file changed, E648 a picture cannot be read.
        """
        return [self._face(picture, models) for picture in pictures]

    def clear(self) -> None:
        """Let the models and every face go."""
        self._loaded = None
        self._found.clear()

    def _face(self, source: Source, models: Source) -> Face:
        return self._found.get((models.digest, source.digest), lambda: self._look(source, models))

    def _look(self, source: Source, models: Source) -> Face:
        if self._loaded is None or self._loaded.digest != models.digest:
            self._loaded = _load(models)
        with unchanged(source):
            picture = read_picture(source.path(source.files[0].name), source.address)
        return self._loaded.face(picture, source.address)


@dataclass(frozen=True)
class _Loaded:
    digest: str
    watch: Watch
    analysis: Any
    align: Any

    def face(self, picture: Image.Image, name: str) -> Face:
        # insightface reads blue, green, red. The guide gives the image encoder the crop in that order too, as the
        # adapter's authors do (https://huggingface.co/h94/IP-Adapter-FaceID), and so it stays.
        pixels = np.ascontiguousarray(np.asarray(picture)[..., ::-1])
        with _silent():
            # It cannot shrink what would be less than a pixel high or wide.
            thin = min(picture.size) * max(_DETECTION) < max(picture.size)
            faces = [] if thin else self.analysis.get(pixels)
            # It reads a model again for the first picture.
            self.watch.check()
            if len(faces) != 1:
                raise _not_one(name, faces)
            crop = self.align.norm_crop(pixels, landmark=faces[0].kps, image_size=CROP)
            embedding = np.asarray(faces[0].normed_embedding, np.float32)
        return Face(torch.from_numpy(embedding), Image.fromarray(crop))


def _not_one(name: str, faces: Sequence[Any]) -> OperationFailed:
    otherwise = "or give the embedding as `image_embeds`"
    if not faces:
        hint = f"show the face upright with some room around it, {otherwise}"
        return OperationFailed.of("E652", f"{name}: no face is seen in the picture, and one is wanted", hint)
    places = some([_place(face.bbox) for face in faces])
    hint = f"cut the picture so that it shows the one face with some room around it, {otherwise}"
    return OperationFailed.of(
        "E652", f"{name}: {len(faces)} faces are seen in the picture, and one is wanted ({places})", hint
    )


def _place(box: Any) -> str:
    left, top, right, bottom = (round(float(number)) for number in box)
    return f"{right - left}x{bottom - top} pixels at {left},{top}"


@contextmanager
def _silent() -> Iterator[None]:
    # Before version 2 it prints what it does, and standard output is for results.
    with quiet(), redirect_stdout(io.StringIO()):
        yield


def _load(models: Source) -> _Loaded:
    with unchanged(models) as (watch,):
        analysis, align = _read_models(models.root / "models" / PACK)
    return _Loaded(models.digest, watch, analysis, align)


def _read_models(folder: Path) -> tuple[Any, Any]:
    """Insightface's analysis with the models in a folder, and its module that cuts faces out."""
    # Before version 1 it imports a library that asks the network for a newer one.
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
    try:
        with _silent():
            application = import_module("insightface.app")
            align = import_module("insightface.utils.face_align")
            options = import_module("onnxruntime").SessionOptions()
            # How the work is shared among threads may decide the last bits.
            options.intra_op_num_threads = 1
            # Told the folder itself, it looks for no other and downloads none.
            analysis = application.FaceAnalysis(
                name=str(folder.absolute()),
                allowed_modules=list(_TASKS),
                providers=["CPUExecutionProvider"],
                sess_options=options,
            )
            analysis.prepare(ctx_id=-1, det_size=_DETECTION)
    except ImportError as cause:
        hint = "what is installed of the extra `faceid` is broken; OpenCV's wheel needs libGL of the system"
        raise OperationFailed.of("E651", f"insightface cannot be imported: {cause}", hint) from cause
    except AssertionError as cause:
        raise _unusable(folder, "there is no model for detection") from cause
    except _rejections() as cause:
        raise _unusable(folder, f"a model cannot be read: {str(cause).splitlines()[0]}") from cause
    lacking = [task for task in _TASKS if task not in analysis.models]
    if lacking:
        raise _unusable(folder, f"there is no model for {lacking[0]}")
    return analysis, align


def _rejections() -> tuple[type[Exception], ...]:
    """What onnxruntime raises of a file that is broken or cut short; these have no base of their own."""
    raised = import_module("onnxruntime.capi.onnxruntime_pybind11_state")
    return raised.InvalidProtobuf, raised.InvalidGraph, raised.InvalidArgument, raised.Fail


def _unusable(folder: Path, what: str) -> OperationFailed:
    hint = (
        f"unpack {PACK}.zip of insightface's releases there again: det_10g.onnx finds faces, w600k_r50.onnx knows them"
    )
    return OperationFailed.of("E651", f"{folder}: {what}", hint)
