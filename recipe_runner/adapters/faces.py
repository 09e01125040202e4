"""insightface, which finds faces in pictures: whether it and its models are on this machine."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path

from recipe_runner.errors import OperationFailed, Problem
from recipe_runner.sources.source import Source, SourceFile
from recipe_runner.weights.digests import file_sha256

VARIABLE = "INSIGHTFACE_HOME"
PACK = "buffalo_l"
"""The models with which the FaceID adapters were trained."""
NOTICE = (
    f"insightface's models ({PACK}) recognise faces; their licence allows non-commercial research only "
    "(https://github.com/deepinsight/insightface#license)"
)
_OTHERWISE = "or give the face's embedding as `image_embeds` (a .npy or .safetensors file)"


def models_root() -> Path:
    """The folder that holds `models/buffalo_l`: `$INSIGHTFACE_HOME`, or `~/.insightface` as insightface itself."""
    return Path(os.environ.get(VARIABLE) or Path.home() / ".insightface")


def find_face_models(label: str) -> Source:
    """The models that find and recognise faces. Their contents decide an embedding as much as the picture does.

    Raises:
        OperationFailed: E651, insightface or its models are not here.
    """
    if find_spec("insightface") is None:
        message = f"{label}: finding a face in a picture needs insightface, which is not installed"
        raise _refuse("E651", message, f"`pip install 'recipe-runner[faceid]'`, {_OTHERWISE}")
    root = models_root() / "models" / PACK
    names = sorted(path.name for path in root.glob("*.onnx")) if root.is_dir() else []
    if not names:
        message = f"{label}: insightface's models {PACK} are not in {root}"
        hint = f"unpack {PACK}.zip of insightface's releases there or set {VARIABLE}, {_OTHERWISE}; note: {NOTICE}"
        raise _refuse("E651", message, hint)
    files = tuple(
        SourceFile(name=f"models/{PACK}/{name}", size=(root / name).stat().st_size, sha256=file_sha256(root / name))
        for name in names
    )
    return Source(address=f"insightface/{PACK}", root=models_root(), files=files)


def _refuse(code: str, message: str, hint: str) -> OperationFailed:
    return OperationFailed(Problem(code=code, message=message, hint=hint))
