"""The shipped table of diffusers' classes, `recipe_runner/pipelines/diffusers.json`, written from diffusers itself.

`python -m recipe_runner.runtime.write_table` writes it; a test proves it current. `recipe_runner.pipelines.table` reads
it, so that a recipe can be checked in a twentieth of the time that importing diffusers takes.
"""

from __future__ import annotations

import inspect
import json
import math
import types
import typing
from pathlib import Path
from typing import Any

import diffusers
from diffusers.loaders import (
    FluxIPAdapterMixin,
    FromSingleFileMixin,
    IPAdapterMixin,
    SD3IPAdapterMixin,
    TextualInversionLoaderMixin,
)
from diffusers.loaders.lora_base import LoraBaseMixin
from diffusers.pipelines.auto_pipeline import AUTO_TEXT2IMAGE_PIPELINES_MAPPING

Table = dict[str, Any]
FILE = Path(__file__).parents[1] / "pipelines" / "diffusers.json"

# What a pipeline that makes something other than images from text takes, or is called.
_OTHER_INPUTS = {
    "num_frames", "frames", "video_length", "video", "control_video", "audio_length_in_s", "audio_end_in_s", "image",
    "images", "control_image", "mask_image", "gligen_images", "image_embeds",
}  # fmt: skip
_OTHER_NAMES = ("Prior", "Audio", "Video", "Music", "Control", "Inpaint", "ShapE")
_MIXINS = {
    "textual_inversion": (TextualInversionLoaderMixin,),
    "ip_adapter": (IPAdapterMixin, FluxIPAdapterMixin, SD3IPAdapterMixin),
    "single_file": (FromSingleFileMixin,),
}


def make_table() -> Table:
    """The whole table, its names sorted: the same bytes from the same version of diffusers."""
    classes = {name: getattr(diffusers, name) for name in sorted(dir(diffusers)) if not name.startswith("_")}
    known = {name: value for name, value in classes.items() if inspect.isclass(value)}
    pipelines = {
        name: value
        for name, value in known.items()
        if issubclass(value, diffusers.DiffusionPipeline) and not hasattr(value, "_backends")
    }
    schedulers = {name: value for name, value in known.items() if _is_scheduler(value)}
    return {
        "diffusers": diffusers.__version__,
        "pipelines": {name: _pipeline(value) for name, value in pipelines.items() if _draws_from_text(value)},
        "other_pipelines": sorted(
            name for name, value in known.items() if name.endswith("Pipeline") and not _draws_from_text(value)
        ),
        "schedulers": {name: _scheduler(value) for name, value in schedulers.items()},
    }


def _is_scheduler(value: type) -> bool:
    return (
        issubclass(value, diffusers.SchedulerMixin)
        and value is not diffusers.SchedulerMixin
        and not hasattr(value, "_backends")
    )


def _draws_from_text(value: type) -> bool:
    if hasattr(value, "_backends") or not issubclass(value, diffusers.DiffusionPipeline):
        return False
    if any(word in value.__name__ for word in _OTHER_NAMES):
        return False
    parameters = _parameters(value.__call__)
    if not {"prompt", "height", "width"} <= set(parameters) or "num_frames" in parameters:
        return False
    needed = {name for name, parameter in parameters.items() if parameter.default is parameter.empty}
    # Those that AutoPipelineForText2Image makes may take an image too, and draw without one.
    ours = value in AUTO_TEXT2IMAGE_PIPELINES_MAPPING.values()
    return needed <= {"prompt"} and (ours or not _OTHER_INPUTS & set(parameters))


def _parameters(function: Any) -> dict[str, inspect.Parameter]:
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    found = inspect.signature(function).parameters
    return {name: parameter for name, parameter in found.items() if name != "self" and parameter.kind in kinds}


def _pipeline(value: type[Any]) -> Table:
    parameters = _parameters(value.__call__)
    return {
        "parameters": {name: _default(parameter) for name, parameter in parameters.items()},
        "required": [name for name, parameter in parameters.items() if parameter.default is parameter.empty],
        "components": _components(value),
        "mixins": {name: issubclass(value, mixins) for name, mixins in _MIXINS.items()},
        "lora": list(value._lora_loadable_modules) if issubclass(value, LoraBaseMixin) else [],  # noqa: SLF001
    }


def _default(parameter: inspect.Parameter) -> Any:
    """The default as JSON has it; null where there is none, or none that JSON can say."""
    default = parameter.default
    if isinstance(default, float) and not math.isfinite(default):
        return None
    if isinstance(default, (bool, int, float, str)):
        return default
    if isinstance(default, (list, tuple)) and all(isinstance(item, (bool, int, float, str)) for item in default):
        return list(default)
    return None


def _components(value: type[Any]) -> Table:
    optional = set(value._optional_components)  # noqa: SLF001
    hints = _hints(value.__init__)
    components = {}
    for name, parameter in _parameters(value.__init__).items():
        expected = sorted(set(_class_names(hints.get(name, parameter.annotation))))
        if name in optional or any(word[:1].isupper() for word in expected):
            components[name] = {"classes": expected, "optional": name in optional}
    return components


def _hints(function: Any) -> dict[str, Any]:
    try:
        return typing.get_type_hints(function)
    except (NameError, TypeError):  # a class that an optional library would have brought
        return {}


def _class_names(annotation: Any) -> list[str]:
    if isinstance(annotation, str):
        return [part.strip() for part in annotation.split("|") if part.strip() not in ("None", "")]
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return [name for argument in typing.get_args(annotation) for name in _class_names(argument)]
    if inspect.isclass(annotation) and annotation.__module__ != "builtins":
        # Without torchvision, transformers gives the processors of Pillow for the same names.
        return [] if annotation is inspect.Parameter.empty else [annotation.__name__.removesuffix("Pil")]
    return []


def _scheduler(value: type[Any]) -> Table:
    step = _parameters(value.step) if hasattr(value, "step") else {}
    return {
        "config": {name: _default(parameter) for name, parameter in _parameters(value.__init__).items()},
        "generator": "generator" in step,
        "compatibles": sorted(str(getattr(member, "name", member)) for member in value._compatibles),  # noqa: SLF001
    }


def table_text() -> str:
    """The bytes of the file, as text."""
    return json.dumps(make_table(), indent=1, sort_keys=False, allow_nan=False) + "\n"


if __name__ == "__main__":
    FILE.parent.mkdir(exist_ok=True)
    FILE.write_text(table_text(), encoding="utf-8")
