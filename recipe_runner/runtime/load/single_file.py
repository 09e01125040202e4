"""One-file checkpoints, taken apart offline: every parameter comes from the file, every tensor of it is accounted for.

diffusers looks up configurations on the Hub when none is given, leaves what is missing empty and ignores what is too
much. Here the configuration is a local folder and nothing is left over.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from recipe_runner.plan.resolved import ResolvedBase
from recipe_runner.problems.problem import WeightsError
from recipe_runner.problems.wording import some
from recipe_runner.runtime.load.classes import component_class
from recipe_runner.runtime.load.conversion import PREFIXES, component_tensors, empty_model, standard
from recipe_runner.runtime.load.part_files import PartFiles
from recipe_runner.runtime.load.parts import DTYPES, load_part
from recipe_runner.runtime.load.provenance import follow, origins, plain
from recipe_runner.runtime.load.strict import check_report
from recipe_runner.runtime.load.tensors import read_tensors
from recipe_runner.sources.find import NEVER_INSIDE
from recipe_runner.weights.checkpoint.original_layout import is_leftover


def load_checkpoint(model: ResolvedBase, wanted: Mapping[str, tuple[str, str]]) -> dict[str, Any]:
    """The components `wanted`, by name to library and class, from the checkpoint file of `model`.

    Tokenizers and the scheduler come from its configuration folder.

    Raises:
        WeightsError: E501 to E503 when a component and the file do not match, E502 for tensors that belong to no
            component, E513 without a configuration, E516 when the file lacks a component.
    """
    if model.config is None or model.weight_name is None:
        raise WeightsError.of(
            "E513", f"{model.source.address}: a single file needs a configuration folder", "set base.config"
        )
    description = model.config.require_found()
    file = model.source.require_found().path(model.weight_name)
    tensors = read_tensors(file, allow_pickle=model.allow_pickle, copies=False)
    checkpoint = standard(follow(tensors))
    used: dict[str, None] = {}
    parts: dict[str, Any] = {}
    for name, entry in wanted.items():
        if name in NEVER_INSIDE:
            continue
        cls = component_class(*entry)
        if not issubclass(cls, torch.nn.Module):
            files = PartFiles(description, name)
            parts[name] = load_part(name, cls, files, dtype=model.dtype, variant=None, allow_pickle=False)
            continue
        with PartFiles(description, name).linked() as config:
            empty = empty_model(name, cls, config)
            own = component_tensors(name, empty, config, checkpoint)
        parts[name] = _filled(name, empty, own, model.dtype, used)
    replaced = tuple(prefix for name in model.components for prefix in PREFIXES.get(name, ()))
    left = [key for key in _left(tensors, used) if not key.startswith(replaced)]
    if left:
        raise WeightsError.of(
            "E502",
            f"{file.name}: {len(left)} of its {len(tensors)} tensors belong to no component: {some(left)}",
            "the file is of another architecture; set base.config to the folder of its own",
        )
    return parts


def load_part_file(name: str, cls: type[Any], file: Path, config: PartFiles, *, dtype: str, allow_pickle: bool) -> Any:
    """The component `name`, of class `cls`, from its own weights file and the config.json among the files `config`.

    Raises:
        WeightsError: E501 to E503, E513, E516, as for a whole checkpoint.
    """
    tensors = read_tensors(file, allow_pickle=allow_pickle, copies=False)
    with config.linked() as folder:
        empty = empty_model(name, cls, folder)
        converted = component_tensors(name, empty, folder, standard(follow(tensors)))
    used: dict[str, None] = {}
    part = _filled(name, empty, converted, dtype, used)
    own = PREFIXES.get(name, ())
    others = tuple(prefix for prefixes in PREFIXES.values() for prefix in prefixes if prefix not in own)
    # Of a whole checkpoint this part is taken.
    left = [key for key in _left(tensors, used) if not key.startswith(others)]
    if left:
        message = f"{file.name}: {len(left)} of its {len(tensors)} tensors belong to no parameter: {some(left)}"
        raise WeightsError.of("E502", message)
    return part


def _left(tensors: Mapping[str, torch.Tensor], used: Mapping[str, None]) -> list[str]:
    """Tensors that went into no component and are no leftovers."""
    return [key for key in tensors if key not in used and not is_leftover(key)]


def _filled(name: str, model: Any, tensors: Mapping[str, torch.Tensor], dtype: str, used: dict[str, None]) -> Any:
    """Fill the empty `model`, cast it, and note in `used` which of the file's tensors went into it."""
    wanted = model.state_dict()
    own = {key: tensor for key, tensor in tensors.items() if key in wanted}
    mismatched = [
        (key, tuple(tensor.shape), tuple(wanted[key].shape))
        for key, tensor in own.items()
        if tensor.shape != wanted[key].shape
    ]
    if mismatched:
        check_report(name, {"missing_keys": (), "unexpected_keys": (), "mismatched_keys": mismatched})
    whole = [key for key, tensor in own.items() if wanted[key].is_floating_point() and not tensor.is_floating_point()]
    if whole:
        hint = "the weights are quantised in a way that is not read: use the file in half precision"
        raise WeightsError.of(
            "E513", f"{name}: {len(whole)} parameters are stored as whole numbers: {some(whole)}", hint
        )
    model.load_state_dict({key: plain(tensor) for key, tensor in own.items()}, strict=False, assign=True)
    if hasattr(model, "tie_weights"):
        model.tie_weights()
    empty = [key for key, parameter in model.named_parameters() if parameter.is_meta]
    check_report(name, {"missing_keys": empty, "unexpected_keys": (), "mismatched_keys": ()})
    for tensor in own.values():
        used.update(dict.fromkeys(origins(tensor)))
    return _cast(model, DTYPES[dtype]).eval()


def _cast(model: Any, dtype: torch.dtype) -> Any:
    model.to(dtype)
    kept = getattr(model, "_keep_in_fp32_modules", None) or ()
    if dtype == torch.float16:
        for key, parameter in model.named_parameters():
            if any(module in key.split(".") for module in kept):
                parameter.data = parameter.data.to(torch.float32)
    return model
