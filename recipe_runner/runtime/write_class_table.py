"""The shipped table of component classes, `recipe_runner/data/classes.json`, written from the installed libraries.

`python -m recipe_runner.runtime.write_class_table` writes it; a test proves it current. It lists every concrete model,
tokenizer, processor and scheduler that a model folder may name: a class that picks another one by what a file says
(AutoModel), a pipeline or a base class is not in it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import diffusers
import transformers
from diffusers import ModelMixin
from transformers import PreTrainedModel

from recipe_runner.pipelines.library_classes import Kind
from recipe_runner.sources.base_folder import PIPELINE_MODULES

FILE = Path(__file__).parents[1] / "pipelines" / "classes.json"

# By the end of the name, the longer end first: a class that needs a package that is not installed is a placeholder.
_ENDINGS: dict[str, Kind] = {
    "Scheduler": "scheduler",
    "Tokenizer": "tokenizer",
    "TokenizerFast": "tokenizer",
    "ImageProcessor": "image_processor",
    "ImageProcessorFast": "image_processor",
    "ImageProcessorPil": "image_processor",
    "FeatureExtractor": "image_processor",
    "Processor": "processor",
    "Guidance": "guider",
}
_BACKENDS = ("TokenizersBackend",)
"""Tokenizers whose names end otherwise."""
_ABSTRACT = ("Auto", "Base", "PreTrainedTokenizer")
_NO_COMPONENTS = ("PreTrainedModel", "PretrainedModel", "Mixin", "Config", "LogitsProcessor")
_NOT_ALWAYS_INSTALLED: dict[str, dict[Kind, str]] = {
    "kolors": {"tokenizer": "ChatGLMTokenizer", "transformers_model": "ChatGLMModel"},
}
"""Classes of modules that need more packages than this table should."""
_ADDED = ("T5GemmaEncoder",)
"""Classes that diffusers adds to transformers, in some orders of imports."""


def make_classes() -> dict[str, Any]:
    """The whole table, its names sorted: the same bytes from the same versions."""
    homes = {"diffusers": diffusers, "transformers": transformers}
    modules = {name: getattr(diffusers.pipelines, name, None) for name in sorted(PIPELINE_MODULES)}
    found = {name: _kinds(home) for name, home in {**homes, **modules}.items()} | _NOT_ALWAYS_INSTALLED
    return {
        "diffusers": diffusers.__version__,
        "transformers": transformers.__version__,
        "classes": {name: kinds for name, kinds in found.items() if kinds},
    }


def _kinds(home: Any) -> dict[Kind, str]:
    names: dict[Kind, list[str]] = {}
    for name in sorted({*dir(home), *(_ADDED if home is transformers else ())}):
        if name[:1].isupper() and (kind := _kind(home, name)) is not None:
            names.setdefault(kind, []).append(name)
    return {kind: " ".join(names[kind]) for kind in sorted(names)}


def _kind(home: Any, name: str) -> Kind | None:
    # transformers makes the names of fast classes up when they are asked for; `class_kind` does the same.
    fast = name.endswith("Fast") and hasattr(home, name.removesuffix("Fast")) and name != "PreTrainedTokenizerFast"
    value = getattr(home, name, None)
    if name in _ADDED:
        return "transformers_model"
    if fast or name.endswith(_NO_COMPONENTS) or not isinstance(value, type):
        return None
    if issubclass(value, (ModelMixin, PreTrainedModel)):
        return "diffusers_model" if issubclass(value, ModelMixin) else "transformers_model"
    return _kind_by_name(home, name)


def _kind_by_name(home: Any, name: str) -> Kind | None:
    if name in _BACKENDS:
        return "tokenizer"
    abstract = name.startswith(_ABSTRACT) and name != "PreTrainedTokenizerFast"
    found = None if abstract else next((kind for end, kind in _ENDINGS.items() if name.endswith(end)), None)
    # What diffusers calls a processor is no part of a model's folder.
    return found if home is transformers or found in ("scheduler", "guider") else None


def classes_text() -> str:
    """The bytes of the file, as text."""
    return json.dumps(make_classes(), indent=1) + "\n"


if __name__ == "__main__":
    FILE.write_text(classes_text(), encoding="utf-8")
