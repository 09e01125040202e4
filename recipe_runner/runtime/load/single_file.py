"""Load single-file checkpoints offline: the file fills every parameter, and every tensor of the file is used.

diffusers looks up a missing configuration on the Hub, leaves missing parameters empty and ignores extra tensors. Here
the configuration is a local folder, and a missing or an extra tensor is an error.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import filterfalse
from pathlib import Path
from typing import Any

import torch

from recipe_runner.plan.resolved_base import ResolvedBase
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
        WeightsError: E501 to E503 when a component and the file do not match, E502 for tensors that do not belong to a
            component, E513 without a configuration, E516 when the file does not hold a component.
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
    unused = _unused(tensors, used, _prefixes(model.components))
    if unused:
        raise WeightsError.of(
            "E502",
            f"{file.name}: {len(unused)} of its {len(tensors)} tensors do not belong to a component: {some(unused)}",
            "the file has another architecture; set base.config to its model's configuration folder",
        )
    return parts


def load_part_file(name: str, cls: type[Any], file: Path, config: PartFiles, *, dtype: str, allow_pickle: bool) -> Any:
    """The component `name`, of class `cls`, from a weights file and the config.json among the files `config`.

    Raises:
        WeightsError: E501 to E503, E513, E516, as for a whole checkpoint.
    """
    tensors = read_tensors(file, allow_pickle=allow_pickle, copies=False)
    with config.linked() as folder:
        empty = empty_model(name, cls, folder)
        converted = component_tensors(name, empty, folder, standard(follow(tensors)))
    used: dict[str, None] = {}
    part = _filled(name, empty, converted, dtype, used)
    # The file may be a whole checkpoint, of which only this component is used.
    others = tuple(set(_prefixes(PREFIXES)).difference(_prefixes([name])))
    unused = _unused(tensors, used, others)
    if unused:
        raise WeightsError.of(
            "E502",
            f"{file.name}: {len(unused)} of its {len(tensors)} tensors do not belong to a parameter: {some(unused)}",
        )
    return part


def _prefixes(names: Iterable[str]) -> tuple[str, ...]:
    found: list[str] = []
    for name in names:
        found.extend(PREFIXES.get(name, ()))
    return tuple(found)


def _unused(tensors: Mapping[str, torch.Tensor], used: Mapping[str, None], others: tuple[str, ...]) -> list[str]:
    """Tensors that are not used, except harmless leftovers and those with a prefix of `others`."""
    unused = [key for key in tensors if key not in used and not key.startswith(others)]
    return list(filterfalse(is_leftover, unused))


def _filled(name: str, model: Any, tensors: Mapping[str, torch.Tensor], dtype: str, used: dict[str, None]) -> Any:
    """Fill the empty `model`, cast it, and add to `used` the names of the file's tensors that it is made from."""
    wanted = model.state_dict()
    own = {key: tensor for key, tensor in tensors.items() if key in wanted}
    _check_tensors(name, own, wanted)
    model.load_state_dict({key: plain(tensor) for key, tensor in own.items()}, strict=False, assign=True)
    if hasattr(model, "tie_weights"):
        model.tie_weights()
    empty = [key for key, parameter in model.named_parameters() if parameter.is_meta]
    check_report(name, {"missing_keys": empty, "unexpected_keys": (), "mismatched_keys": ()})
    for tensor in own.values():
        used.update(dict.fromkeys(origins(tensor)))
    return _cast(model, DTYPES[dtype]).eval()


def _check_tensors(name: str, own: Mapping[str, torch.Tensor], wanted: Mapping[str, torch.Tensor]) -> None:
    """Raise E503 for tensors of another shape than their parameters, E513 for whole numbers instead of floats."""
    mismatched = []
    whole = []
    for key, tensor in own.items():
        if tensor.shape != wanted[key].shape:
            mismatched.append((key, tuple(tensor.shape), tuple(wanted[key].shape)))
        if wanted[key].is_floating_point() and not tensor.is_floating_point():
            whole.append(key)
    if mismatched:
        check_report(name, {"missing_keys": (), "unexpected_keys": (), "mismatched_keys": mismatched})
    if whole:
        raise WeightsError.of(
            "E513",
            f"{name}: {len(whole)} parameters are stored as whole numbers: {some(whole)}",
            "the weights are quantised in an unsupported way: use the file in half precision",
        )


def _cast(model: Any, dtype: torch.dtype) -> Any:
    model.to(dtype)
    kept = set(getattr(model, "_keep_in_fp32_modules", None) or ())
    if dtype == torch.float16:
        for key, parameter in model.named_parameters():
            if kept.intersection(key.split(".")):
                parameter.data = parameter.data.to(torch.float32)
    return model
