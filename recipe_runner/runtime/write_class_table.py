"""Write the shipped table of component classes, `recipe_runner/pipelines/classes.json`, from the installed libraries.

`python -m recipe_runner.runtime.write_class_table` writes it; a test proves that it is current. It lists every concrete
model, tokenizer, processor and scheduler that a model folder can name, without pipelines, base classes and classes that
choose another one by the contents of a file (AutoModel).
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

# By the end of the name, because a class of a package that is not installed is only a placeholder.
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
"""Tokenizers whose names end differently."""
_ABSTRACT = ("Auto", "Base", "PreTrainedTokenizer")
_NO_COMPONENTS = ("PreTrainedModel", "PretrainedModel", "Mixin", "Config", "LogitsProcessor")
_NOT_ALWAYS_INSTALLED: dict[str, dict[Kind, str]] = {
    "kolors": {"tokenizer": "ChatGLMTokenizer", "transformers_model": "ChatGLMModel"},
}
"""Classes of modules that need more packages than this program."""
_ADDED = ("T5GemmaEncoder",)
"""Classes that diffusers adds to transformers, depending on the order of imports."""


def make_classes() -> dict[str, Any]:
    """The whole table, with sorted names: the same bytes from the same versions."""
    found = {"diffusers": _kinds(diffusers), "transformers": _kinds(transformers, _ADDED)}
    for name in sorted(PIPELINE_MODULES):
        kinds = _NOT_ALWAYS_INSTALLED.get(name) or _kinds(getattr(diffusers.pipelines, name, None))
        if kinds:
            found[name] = kinds
    return {"diffusers": diffusers.__version__, "transformers": transformers.__version__, "classes": found}


def _kinds(home: Any, added: tuple[str, ...] = ()) -> dict[Kind, str]:
    names: dict[Kind, list[str]] = {}
    for name in sorted({*dir(home), *added}):
        if not name[:1].isupper():
            continue
        kind = _kind(home, name)
        if kind is not None:
            names.setdefault(kind, []).append(name)
    return {kind: " ".join(names[kind]) for kind in sorted(names)}


def _kind(home: Any, name: str) -> Kind | None:
    # transformers creates the names of fast classes on request, and so does `class_kind`.
    fast = name.endswith("Fast") and hasattr(home, name.removesuffix("Fast")) and name != "PreTrainedTokenizerFast"
    value = getattr(home, name, None)
    if name in _ADDED:
        return "transformers_model"
    if fast or name.endswith(_NO_COMPONENTS) or not isinstance(value, type):
        return None
    if issubclass(value, ModelMixin):
        return "diffusers_model"
    if issubclass(value, PreTrainedModel):
        return "transformers_model"
    return _kind_by_name(home, name)


def _kind_by_name(home: Any, name: str) -> Kind | None:
    if name in _BACKENDS:
        return "tokenizer"
    if name.startswith(_ABSTRACT) and name != "PreTrainedTokenizerFast":
        return None
    for end, kind in _ENDINGS.items():
        # A model's folder never holds what diffusers calls a processor.
        if name.endswith(end) and (home is transformers or kind in ("scheduler", "guider")):
            return kind
    return None


def classes_text() -> str:
    """The bytes of the file, as text."""
    return json.dumps(make_classes(), indent=1) + "\n"


if __name__ == "__main__":
    FILE.write_text(classes_text(), encoding="utf-8")
