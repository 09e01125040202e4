"""Write the shipped table of diffusers' classes, `recipe_runner/pipelines/diffusers.json`, from diffusers itself.

`python -m recipe_runner.runtime.write_table` writes it; a test proves that it is current. It is read by
`recipe_runner.pipelines.table`, so that checking a recipe takes a twentieth of the time of importing diffusers.
"""

from __future__ import annotations

import inspect
import json
import math
import re
import types
import typing
from collections.abc import Mapping
from itertools import chain
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

# Arguments and words in the names of pipelines that do not make images from text.
_OTHER_INPUTS = {
    "num_frames", "frames", "video_length", "video", "control_video", "audio_length_in_s", "audio_end_in_s", "image",
    "images", "control_image", "mask_image", "gligen_images", "image_embeds",
}  # fmt: skip
_OTHER_NAMES = re.compile("Prior|Audio|Video|Music|Control|Inpaint|ShapE")
_SCALARS = (bool, int, float, str)
_MIXINS = {
    "textual_inversion": (TextualInversionLoaderMixin,),
    "ip_adapter": (IPAdapterMixin, FluxIPAdapterMixin, SD3IPAdapterMixin),
    "single_file": (FromSingleFileMixin,),
}


def make_table() -> Table:
    """The whole table, with sorted names: the same bytes from the same version of diffusers."""
    pipelines, others, schedulers = {}, [], {}
    for name in sorted(dir(diffusers)):
        if name.startswith("_"):
            continue
        value = getattr(diffusers, name)
        if not inspect.isclass(value):
            continue
        if _draws_from_text(value):
            pipelines[name] = _pipeline(value)
        elif name.endswith("Pipeline"):
            others.append(name)
        if _is_scheduler(value):
            schedulers[name] = _scheduler(value)
    return {
        "diffusers": diffusers.__version__,
        "pipelines": pipelines,
        "other_pipelines": others,
        "schedulers": schedulers,
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
    if _OTHER_NAMES.search(value.__name__):
        return False
    parameters = _parameters(value.__call__)
    if not {"prompt", "height", "width"} <= parameters.keys() or "num_frames" in parameters:
        return False
    if not {"prompt"}.issuperset(_required(parameters)):
        return False
    # Pipelines of AutoPipelineForText2Image may take an image too, and draw without one.
    return value in AUTO_TEXT2IMAGE_PIPELINES_MAPPING.values() or _OTHER_INPUTS.isdisjoint(parameters)


def _required(parameters: Mapping[str, inspect.Parameter]) -> list[str]:
    return [name for name, parameter in parameters.items() if parameter.default is parameter.empty]


def _defaults(parameters: Mapping[str, inspect.Parameter]) -> Table:
    return {name: _default(parameter) for name, parameter in parameters.items()}


def _parameters(function: Any) -> dict[str, inspect.Parameter]:
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    found = inspect.signature(function).parameters
    return {name: parameter for name, parameter in found.items() if name != "self" and parameter.kind in kinds}


def _pipeline(value: type[Any]) -> Table:
    parameters = _parameters(value.__call__)
    return {
        "parameters": _defaults(parameters),
        "required": _required(parameters),
        "components": _components(value),
        "mixins": {name: issubclass(value, mixins) for name, mixins in _MIXINS.items()},
        "lora": _lora_modules(value),
    }


def _lora_modules(value: type[Any]) -> list[str]:
    return list(value._lora_loadable_modules) if issubclass(value, LoraBaseMixin) else []  # noqa: SLF001


def _default(parameter: inspect.Parameter) -> Any:
    """The default as JSON; null if it is missing or JSON cannot express it."""
    default = parameter.default
    if isinstance(default, float) and not math.isfinite(default):
        return None
    if isinstance(default, _SCALARS):
        return default
    if isinstance(default, (list, tuple)) and all(isinstance(item, _SCALARS) for item in default):
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
    except (NameError, TypeError):  # a class of an optional library that is not installed
        return {}


def _class_names(annotation: Any) -> list[str]:
    if isinstance(annotation, str):
        names = map(str.strip, annotation.split("|"))
        return [name for name in names if name not in ("None", "")]
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return list(chain.from_iterable(map(_class_names, typing.get_args(annotation))))
    if annotation is inspect.Parameter.empty:
        return []
    if inspect.isclass(annotation) and annotation.__module__ != "builtins":
        # Without torchvision, transformers has the processors of Pillow under the same names.
        return [annotation.__name__.removesuffix("Pil")]
    return []


def _scheduler(value: type[Any]) -> Table:
    return {
        "config": _defaults(_parameters(value.__init__)),
        "generator": hasattr(value, "step") and "generator" in _parameters(value.step),
        "compatibles": sorted(str(getattr(member, "name", member)) for member in value._compatibles),  # noqa: SLF001
    }


def table_text() -> str:
    """The bytes of the file, as text."""
    return json.dumps(make_table(), indent=1, sort_keys=False, allow_nan=False) + "\n"


if __name__ == "__main__":
    FILE.parent.mkdir(exist_ok=True)
    FILE.write_text(table_text(), encoding="utf-8")
