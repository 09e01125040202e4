"""insightface's two models made tiny: what sees a face, and what tells faces apart, with the signatures of buffalo_l.

A face here is a red disc; dots in it are what tells one from another. insightface itself is the real one: by its inputs
and outputs it chooses what a file is for, and it makes faces of what these two compute.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image, ImageDraw

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

PACK = "models/buffalo_l"
SIZE = (160, 128)
"""Width and height of the pictures."""
_LANDMARKS = ((38.2946, 51.6963), (73.5318, 51.5014), (56.0252, 71.7366), (41.5493, 92.3655), (70.7299, 92.2041))
"""Eyes, nose and corners of the mouth in a face of 112x112 pixels, as ArcFace wants them (x, y)."""
_STRIDES = (8, 16, 32)
_WINDOW = 64
"""Height and width of what decides about a place, in pixels of the detector's input."""


def need_insightface() -> None:
    """Skip where insightface cannot be imported: it is an extra, and OpenCV wants libraries of the system."""
    pytest.importorskip("insightface", reason="needs the extra faceid", exc_type=ImportError)


def build_face_models(root: Path, seed: int = 0) -> Path:
    """Write a detector and a recogniser below `root` where insightface unpacks buffalo_l; returns `root`."""
    import onnx

    (root / PACK).mkdir(parents=True, exist_ok=True)
    for name, graph in (("det_10g", _detector(onnx.helper)), ("w600k_r50", _recogniser(onnx.helper, seed))):
        model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 11)], ir_version=8)
        onnx.checker.check_model(model, full_check=True)
        onnx.save(model, root / PACK / f"{name}.onnx")
    return root


def write_face(path: Path, *dots: tuple[int, int], at: Sequence[tuple[int, int]] = ((80, 64),)) -> Path:
    """Write a picture with a face at each place of `at`; `dots` are places in a face, from its middle."""
    picture = Image.new("RGB", SIZE, (90, 120, 90))
    draw = ImageDraw.Draw(picture)
    for x, y in at:
        draw.ellipse((x - 11, y - 11, x + 11, y + 11), fill=(255, 0, 0))
        for right, down in dots:
            draw.rectangle((x + right, y + down, x + right + 3, y + down + 2), fill=(20, 40, 250))
    picture.save(path)
    return path


def write_turned(path: Path, upright: Path) -> Path:
    """Write a picture as a camera on its side does: its EXIF data say how to turn it to see `upright`."""
    picture = Image.open(upright)
    exif = picture.getexif()
    exif[0x0112] = 6  # to be turned a quarter to the right
    picture.transpose(Image.Transpose.ROTATE_90).save(path, exif=exif, quality=95, subsampling=0)
    return path


def _detector(helper: Any) -> Any:
    """SCRFD with keypoints: for each stride scores [n, 1], boxes [n, 4] and keypoints [n, 10], two anchors a place.

    Only the widest stride sees anything: how red a window is, and where in it the red is.
    """
    wide = _STRIDES[-1]
    y, x = np.mgrid[:_WINDOW, :_WINDOW].astype(np.float32) - (_WINDOW - 1) / 2
    across, down = [1, 0], [0, 1]
    around = np.array(_LANDMARKS, np.float32).reshape(-1) / 56 - 1
    reach = 2.5  # from the middle of a face to the sides of its box, in strides
    initial: dict[str, NDArray[Any]] = {
        # Grey of any brightness is 0.
        "redness": np.array([0.5, -0.25, -0.25], np.float32).reshape(1, 3, 1, 1),
        "window": np.stack([np.ones_like(x), x / wide, y / wide])[:, None] / _WINDOW**2,
        "little": np.array(1e-6, np.float32),
        # A window's middle lies half a stride from its anchor.
        "half": np.array(0.5, np.float32),
    }
    node = helper.make_node
    nodes = [
        node("Conv", ["input.1", "redness"], ["colour"]),
        node("Relu", ["colour"], ["red"]),
        node("Conv", ["red", "window"], ["seen"], strides=[wide, wide], pads=[(_WINDOW - wide) // 2] * 4),
        node("Split", ["seen"], ["share", "moments"], axis=1, split=[1, 2]),
        node("Add", ["share", "little"], ["some"]),
        node("Div", ["moments", "some"], ["shift"]),
        node("Add", ["shift", "half"], ["middle"]),
    ]
    heads: Mapping[str, tuple[int, str, Any, Any]] = {
        "scores": (1, "share", [[1], [0.5]], [0, 0]),
        "boxes": (4, "middle", [[-1, 0], [0, -1], across, down] * 2, [reach] * 8),
        "points": (10, "middle", [across, down] * 10, np.tile(around * reach, 2)),
    }
    outputs = []
    for head, (width, read, weight, bias) in heads.items():
        for stride in _STRIDES:
            name, source = f"{head}_{stride}", read
            matrix = np.array(weight, np.float32)[..., None, None]
            if stride != wide:
                nodes.append(
                    node("AveragePool", ["red"], [f"{name}_in"], kernel_shape=[stride] * 2, strides=[stride] * 2)
                )
                matrix, source = np.zeros_like(matrix[:, :1]), f"{name}_in"
            initial |= {f"{name}_w": matrix, f"{name}_b": np.array(bias, np.float32)}
            initial[f"{name}_to"] = np.array([-1, width], np.int64)
            nodes += [
                node("Conv", [source, f"{name}_w", f"{name}_b"], [f"{name}_map"]),
                node("Transpose", [f"{name}_map"], [f"{name}_last"], perm=[0, 2, 3, 1]),
                node("Reshape", [f"{name}_last", f"{name}_to"], [name]),
            ]
            outputs.append(_value(helper, name, [f"n{stride}", width]))
    return _graph(helper, "detector", nodes, [1, 3, "height", "width"], outputs, initial)


def _recogniser(helper: Any, seed: int) -> Any:
    """ArcFace: [n, 3, 112, 112] to [n, 512]."""
    generator = np.random.default_rng(seed)
    initial = {
        "patches": generator.normal(size=(4, 3, 8, 8)).astype(np.float32),
        "mix": generator.normal(size=(4 * 14 * 14, 512)).astype(np.float32),
    }
    nodes = [
        helper.make_node("Conv", ["input.1", "patches"], ["looks"], strides=[8, 8]),
        helper.make_node("Relu", ["looks"], ["active"]),
        helper.make_node("Flatten", ["active"], ["flat"]),
        helper.make_node("MatMul", ["flat", "mix"], ["683"]),
    ]
    outputs = [_value(helper, "683", ["n", 512])]
    return _graph(helper, "recogniser", nodes, ["n", 3, 112, 112], outputs, initial)


def _value(helper: Any, name: str, shape: Sequence[int | str]) -> Any:
    return helper.make_tensor_value_info(name, 1, shape)


def _graph(
    helper: Any,
    name: str,
    nodes: Sequence[Any],
    shape: Sequence[int | str],
    outputs: Sequence[Any],
    initial: Mapping[str, NDArray[Any]],
) -> Any:
    from onnx import numpy_helper

    tensors = [numpy_helper.from_array(array, key) for key, array in initial.items()]
    return helper.make_graph(nodes, name, [_value(helper, "input.1", shape)], outputs, tensors)
