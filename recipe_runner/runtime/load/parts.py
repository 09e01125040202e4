"""Load one component of a pipeline from its folder, strictly."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from diffusers import ModelMixin
from safetensors import SafetensorError

from recipe_runner.pipelines.library_classes import Kind
from recipe_runner.problems.problem import RecipeRunnerError, WeightsError
from recipe_runner.problems.wording import some
from recipe_runner.runtime.load.part_files import PartFiles
from recipe_runner.runtime.load.strict import check_report, check_shards, check_whole, shape_text
from recipe_runner.sources.component_class import declared_class
from recipe_runner.sources.component_files import weights_files
from recipe_runner.weights.files.header import read_header
from recipe_runner.weights.modules import TEXT_MODEL

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}

_REPORTED = "ignore_mismatched_sizes"
_LOADER_ERRORS = (
    OSError,
    ValueError,
    RuntimeError,
    TypeError,
    LookupError,
    ArithmeticError,
    AssertionError,
    AttributeError,
    NotImplementedError,
    SafetensorError,
)
"""What the loaders raise for broken or foreign files; a wrong shape is among them."""


def load_part(
    name: str,
    cls: type[Any],
    part: PartFiles,
    *,
    dtype: str,
    variant: str | None,
    allow_pickle: bool,
    beside: tuple[str, ...] = (),
) -> Any:
    """The component `name` of class `cls` from its files: a model with all its parameters, a tokenizer, a scheduler.

    `beside` are prefixes of tensors that belong to another component in the same file.

    Raises:
        WeightsError: E501 to E504 when file and model do not match, E513 when the component cannot be loaded at all,
            E514 when the class makes an object of another class, E406 when its weights are pickled and pickles are not
            allowed.
        RecordError: E801 the folder for temporary files cannot be written.
    """
    with part.linked() as folder:
        if issubclass(cls, torch.nn.Module):
            return _load_model(
                name, cls, part, folder, dtype=dtype, variant=variant, allow_pickle=allow_pickle, beside=beside
            )
        loaded = _loaded(name, cls, part, folder, local_files_only=True)
    if isinstance(loaded, torch.nn.Module):
        # Its weights were loaded by the class's own rules, and not strictly.
        raise WeightsError.of(
            "E514", f"{name}: {cls.__name__} picks the class {type(loaded).__name__}", "name that class"
        )
    return loaded


def _load_model(
    name: str,
    cls: type[Any],
    part: PartFiles,
    folder: Path,
    *,
    dtype: str,
    variant: str | None,
    allow_pickle: bool,
    beside: tuple[str, ...],
) -> Any:
    kind: Kind = "diffusers_model" if issubclass(cls, ModelMixin) else "transformers_model"
    files = weights_files(folder, part.shown, kind, variant, allow_pickle=allow_pickle)
    if files is None:
        wanted = f"weights of variant {variant}" if variant else "weights"
        raise WeightsError.of("E513", f"{name}: no {wanted} in its folder")
    model, report = _loaded(
        name,
        cls,
        part,
        folder,
        dtype=DTYPES[dtype],
        variant=variant,
        use_safetensors=files[-1].endswith(".safetensors"),
        local_files_only=True,
        output_loading_info=True,
    )
    others = [key for key in report["unexpected_keys"] if not str(key).startswith(beside)]
    check_report(name, {**report, "unexpected_keys": others})
    if len(files) > 1 and issubclass(cls, ModelMixin) and files[-1].endswith(".safetensors"):
        # The first file is the index of the shards.
        keys: list[str] = []
        for file in files[1:]:
            keys.extend(read_header(folder / file).tensors)
        check_shards(name, model, keys)
    check_whole(name, model)
    return model.eval()


def stated_class(part: PartFiles) -> str | None:
    """The class that a component's config.json names, or None."""
    for file in ("config.json", "scheduler_config.json"):
        if file in part.names:
            return declared_class(json.loads(part.path(file).read_bytes()))
    return None


def _loaded(name: str, cls: type[Any], part: PartFiles, folder: Path, **settings: Any) -> Any:
    try:
        return cls.from_pretrained(str(folder), **settings)
    except RecipeRunnerError:
        raise
    except _LOADER_ERRORS as cause:
        message = str(cause).replace(str(folder), part.shown).strip()
        code = "E503" if _is_about_shapes(message) else "E513"
        reason = message.splitlines()[0][:300] if message else "no reason given"
        if _REPORTED in reason and not issubclass(cls, ModelMixin):
            mismatched = _mismatched(cls, folder)
            if mismatched:
                reason = f"{len(mismatched)} parameters have another shape: {some(mismatched)}"
        raise WeightsError.of(code, f"{name}: {cls.__name__} cannot be loaded: {reason}") from cause


def _mismatched(cls: type[Any], folder: Path) -> list[str]:
    """Parameters with another shape in the safetensors files, which transformers reports in its log only."""
    with torch.device("meta"):
        model = cls(cls.config_class.from_pretrained(str(folder), local_files_only=True))
    # Files written before transformers 5 have a prefix that it removed.
    wanted = {name.removeprefix(TEXT_MODEL): tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    found: dict[str, str] = {}
    for path in sorted(folder.glob("*.safetensors")):
        for key, shape in read_header(path).shapes.items():
            name = key.removeprefix(TEXT_MODEL)
            if name in wanted and wanted[name] != shape:
                found[name] = f"{name} ({shape_text(shape)} instead of {shape_text(wanted[name])})"
    return list(found.values())


def _is_about_shapes(message: str) -> bool:
    return "expected shape" in message or _REPORTED in message or "size mismatch" in message
