"""Where insightface's models lie, which find faces in pictures. insightface would download them; nothing here does."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path

from recipe_runner.disk.home import expanded, home_folder
from recipe_runner.sources.address import Located, missing
from recipe_runner.sources.source import Source, SourceFile

VARIABLE = "INSIGHTFACE_HOME"
PACK = "buffalo_l"
"""The models with which the FaceID adapters were trained."""
ADDRESS = f"insightface:{PACK}"
"""How a lock and a manifest name them: no path, and no repository."""
NOTICE = (
    f"insightface's models ({PACK}) recognise faces; their licence allows non-commercial research only "
    "(https://github.com/deepinsight/insightface#license)"
)
_PACKAGES = ("insightface", "onnxruntime")
_OTHERWISE = "or give the face's embedding as `image_embeds` (a .npy or .safetensors file)"


def models_root() -> Path:
    """The folder that holds `models/buffalo_l`: `$INSIGHTFACE_HOME`, or `~/.insightface` as insightface itself."""
    return expanded(os.environ.get(VARIABLE) or home_folder() / ".insightface")


def locate_face_models() -> Located:
    """Where the models lie.

    Raises:
        SourceMissing: E651, they are not on this machine.
    """
    root = models_root()
    folder = root / "models" / PACK
    if not any(folder.glob("*.onnx")):
        hint = f"unpack {PACK}.zip of insightface's releases there or set {VARIABLE}, {_OTHERWISE}; note: {NOTICE}"
        raise missing("E651", f"insightface's models {PACK} are not in {folder}", hint)
    return Located(address=ADDRESS, root=root)


def find_face_models() -> Source:
    """The models that find and recognise faces. Their contents decide an embedding as much as the picture does.

    Raises:
        SourceMissing: E651, insightface or its models are not here.
    """
    for package in _PACKAGES:
        if not _is_installed(package):
            message = f"finding a face in a picture needs {package}, which is not installed"
            raise missing("E651", message, f"`pip install 'recipe-runner[faceid]'`, {_OTHERWISE}; note: {NOTICE}")
    root = locate_face_models().root
    folder = root / "models" / PACK
    paths = sorted([*folder.glob("*.onnx"), *folder.glob("manifest.json")])
    return Source(address=ADDRESS, root=root, files=tuple(SourceFile.of(path, root) for path in paths))


def _is_installed(package: str) -> bool:
    """Whether it is there to be imported; any folder of that name in the working directory would be found too."""
    found = find_spec(package)
    return found is not None and found.origin is not None
