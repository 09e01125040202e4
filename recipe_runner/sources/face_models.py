"""Find insightface's models, which find faces in images. insightface would download them; this package does not."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path

from recipe_runner.disk.home import expanded, home_folder
from recipe_runner.sources.address import Located, missing
from recipe_runner.sources.source import Source, SourceFile

VARIABLE = "INSIGHTFACE_HOME"
PACK = "buffalo_l"
"""The models that the FaceID adapters were trained with."""
ADDRESS = f"insightface:{PACK}"
"""Their address in a lock and a manifest: neither a path nor a repository."""
NOTICE = (
    f"insightface's models ({PACK}) recognise faces; their licence allows non-commercial research only "
    "(https://github.com/deepinsight/insightface#license)"
)
_PACKAGES = ("insightface", "onnxruntime")
_OTHERWISE = "or give the face's embedding as `image_embeds` (a .npy or .safetensors file)"


def models_root() -> Path:
    """The folder of `models/buffalo_l`: `$INSIGHTFACE_HOME`, or insightface's own `~/.insightface`."""
    return expanded(os.environ.get(VARIABLE) or home_folder() / ".insightface")


def locate_face_models() -> Located:
    """The location of the models.

    Raises:
        SourceMissing: E651 they are not on this machine.
    """
    root = models_root()
    folder = root / "models" / PACK
    if not any(folder.glob("*.onnx")):
        hint = f"unpack {PACK}.zip of insightface's releases there or set {VARIABLE}, {_OTHERWISE}; note: {NOTICE}"
        raise missing("E651", f"insightface's models {PACK} are not in {folder}", hint)
    return Located(address=ADDRESS, root=root)


def find_face_models() -> Source:
    """The models that find and recognise faces. An embedding depends on their contents as much as on the image.

    Raises:
        SourceMissing: E651 insightface or its models are not on this machine.
    """
    for package in _PACKAGES:
        if not _is_installed(package):
            message = f"finding a face in an image needs {package}, which is not installed"
            raise missing("E651", message, f"`pip install 'recipe-runner[faceid]'`, {_OTHERWISE}; note: {NOTICE}")
    root = locate_face_models().root
    folder = root / "models" / PACK
    paths = sorted([*folder.glob("*.onnx"), *folder.glob("manifest.json")])
    return Source(address=ADDRESS, root=root, files=tuple(SourceFile.of(path, root) for path in paths))


def _is_installed(package: str) -> bool:
    """Whether a package can be imported. A folder of that name in the working directory does not count."""
    found = find_spec(package)
    return found is not None and found.origin is not None
