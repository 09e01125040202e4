"""Convert the tensors of a single-file checkpoint to the parameters of one component, with diffusers' converters."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from accelerate import init_empty_weights
from diffusers import ModelMixin
from diffusers.loaders import single_file_utils as ldm
from diffusers.loaders.single_file_model import SINGLE_FILE_LOADABLE_CLASSES

from recipe_runner.problems.problem import WeightsError
from recipe_runner.weights.checkpoint.original_layout import is_transposed, standard_name

Tensors = Mapping[str, torch.Tensor]

PREFIXES: Mapping[str, tuple[str, ...]] = {
    "unet": ("model.diffusion_model.",),
    "transformer": ("model.diffusion_model.",),
    "vae": ("first_stage_model.", "vae."),
    "text_encoder": ("cond_stage_model.", "conditioner.embedders.0.", "text_encoders.clip_l.", "text_encoders.clip_h."),
    "text_encoder_2": ("conditioner.embedders.1.", "text_encoders.clip_g."),
    "text_encoder_3": ("text_encoders.t5xxl.",),
}
"""Prefixes of a component's tensors in a checkpoint."""
_GUIDANCE = "model.diffusion_model.time_embed.cond_proj.weight"
_T5_PREFIX = "text_encoders.t5xxl.transformer."
_POSITIONS = "embeddings.position_embedding.weight"
_OPEN_POSITIONS = "positional_embedding"


def empty_model(name: str, cls: type[Any], config: Path) -> Any:
    """A model of class `cls` without parameters, as the config.json in the folder `config` describes it."""
    if not (config / "config.json").is_file():
        raise WeightsError.of("E513", f"{name}: the configuration has no {name}/config.json")
    with init_empty_weights():
        if issubclass(cls, ModelMixin):
            return cls.from_config(cls.load_config(str(config), local_files_only=True))
        return cls(cls.config_class.from_pretrained(str(config), local_files_only=True))


def component_tensors(name: str, model: Any, config: Path, checkpoint: Tensors) -> dict[str, torch.Tensor]:
    """The tensors of `checkpoint` that belong to `model`, named after its parameters.

    Raises:
        WeightsError: E516, when the checkpoint does not hold this component.
    """
    wanted = model.state_dict().keys()
    if wanted <= checkpoint.keys():
        return dict(checkpoint)
    if isinstance(model, ModelMixin):
        found = _converted_model(model, config, checkpoint)
    elif _is_t5(model):
        found = ldm.convert_sd3_t5_checkpoint_to_diffusers(dict(checkpoint))
    else:
        found = _converted_clip(name, model, checkpoint)
    if not found:
        raise WeightsError.of(
            "E516",
            f"{name}: the checkpoint has no {type(model).__name__}",
            f"set `base.components.{name}` to a model that has one",
        )
    return found


def _converted_model(model: Any, config: Path, checkpoint: Tensors) -> dict[str, torch.Tensor]:
    convert = _converter(type(model))
    tensors = dict(checkpoint)
    if "input_blocks.0.0.weight" in tensors:
        # A UNet alone, without its prefix in a checkpoint; the converter only reads tensors with the prefix.
        tensors = {f"{PREFIXES['unet'][0]}{key}": tensor for key, tensor in tensors.items()}
    arguments: dict[str, Any] = {"checkpoint": tensors}
    if _takes_config(convert):
        arguments["config"] = type(model).load_config(str(config))
    try:
        found = dict(convert(**arguments))
    except (KeyError, IndexError, ValueError, RuntimeError) as cause:
        raise WeightsError.of(
            "E516",
            f"the checkpoint does not hold a {type(model).__name__} of this configuration "
            f"({type(cause).__name__}: {cause})",
            "the file has another architecture, or is incomplete; set base.config to its model's configuration folder",
        ) from cause
    if _GUIDANCE in tensors:
        # Latent consistency models have it; diffusers' converter leaves it out.
        found["time_embedding.cond_proj.weight"] = tensors[_GUIDANCE]
    return found


def _converter(cls: type[Any]) -> Callable[..., Mapping[str, torch.Tensor]]:
    """The converter of diffusers for the class `cls`, or for a base of it."""
    names = {each.__name__ for each in cls.__mro__}
    for class_name, functions in SINGLE_FILE_LOADABLE_CLASSES.items():
        if class_name in names:
            convert: Callable[..., Mapping[str, torch.Tensor]] = functions["checkpoint_mapping_fn"]
            return convert
    raise WeightsError.of("E516", f"a {cls.__name__} cannot be read from a single file", "use the model's folder")


def _takes_config(convert: Callable[..., Any]) -> bool:
    parameters = inspect.signature(convert).parameters
    return "config" in parameters or "kwargs" in parameters


def standard(checkpoint: Tensors) -> dict[str, torch.Tensor]:
    """The tensors under the original code's names, independent of the program that saved them."""
    found = {}
    for key, tensor in checkpoint.items():
        found[standard_name(key)] = tensor.T.contiguous() if is_transposed(key) else tensor
    return found


def _converted_clip(name: str, model: Any, checkpoint: Tensors) -> dict[str, torch.Tensor]:
    inner = getattr(model, "text_model", model)
    width = inner.embeddings.position_embedding.weight.shape[-1]
    found = _find_clip(name, model, checkpoint, width)
    if inner is model:
        return {key.removeprefix("text_model."): value for key, value in found.items()}
    return found


def _find_clip(name: str, model: Any, checkpoint: Tensors, width: int) -> dict[str, torch.Tensor]:
    for start, prefix, fused in _clip_prefixes(name):
        if _is_wide(checkpoint.get(f"{prefix}text_model.{_POSITIONS}"), width):
            found = {key.removeprefix(prefix): value for key, value in checkpoint.items() if key.startswith(prefix)}
            if start == "text_encoders.clip_l.":
                # Trainers leave this identity matrix out (diffusers adds it too).
                found.setdefault("text_projection.weight", torch.eye(width))
            return found
        if _is_wide(checkpoint.get(f"{fused}{_OPEN_POSITIONS}"), width):
            converted: dict[str, torch.Tensor] = ldm.convert_open_clip_checkpoint(model, dict(checkpoint), prefix=fused)
            return converted
    return {}


def _clip_prefixes(name: str) -> Iterator[tuple[str, str, str]]:
    """Where a CLIP encoder may be in a checkpoint: the start of its names, then transformers' and OpenCLIP's prefix."""
    yield "", "", ""
    for start in PREFIXES.get(name, ()):
        yield start, f"{start}transformer.", f"{start}model."


def _is_wide(positions: torch.Tensor | None, width: int) -> bool:
    return positions is not None and positions.shape[-1] == width


def _is_t5(model: Any) -> bool:
    return getattr(model.config, "model_type", "") == "t5"
