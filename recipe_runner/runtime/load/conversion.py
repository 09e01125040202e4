"""From the tensors of a one-file checkpoint to the parameters of one component, by diffusers' own conversions."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
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
"""Where a component lies in a checkpoint."""
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
    """The tensors of `checkpoint` that are `model`'s, under its parameters' names.

    Raises:
        WeightsError: E516, when the checkpoint has nothing for this component.
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
            f"name another with `base.components.{name}`",
        )
    return found


def _converted_model(model: Any, config: Path, checkpoint: Tensors) -> dict[str, torch.Tensor]:
    for class_name, functions in SINGLE_FILE_LOADABLE_CLASSES.items():
        if any(cls.__name__ == class_name for cls in type(model).__mro__):
            convert = functions["checkpoint_mapping_fn"]
            break
    else:
        raise WeightsError.of(
            "E516", f"a {type(model).__name__} cannot be read from a single file", "use the model's folder"
        )
    tensors = dict(checkpoint)
    if "input_blocks.0.0.weight" in tensors:
        # A UNet alone, without the prefix that it has in a checkpoint; the converter finds nothing else.
        tensors = {f"{PREFIXES['unet'][0]}{key}": tensor for key, tensor in tensors.items()}
    given = {"config": type(model).load_config(str(config)), "checkpoint": tensors}
    taken = inspect.signature(convert).parameters
    open_ended = any(each.kind is inspect.Parameter.VAR_KEYWORD for each in taken.values())
    try:
        found = dict(convert(**{key: value for key, value in given.items() if open_ended or key in taken}))
    except (KeyError, IndexError, ValueError, RuntimeError) as cause:
        raise WeightsError.of(
            "E516",
            f"the checkpoint does not hold a {type(model).__name__} of this configuration "
            f"({type(cause).__name__}: {cause})",
            "the file is of another architecture, or incomplete; set base.config to the folder of its own",
        ) from cause
    if (guidance := tensors.get(_GUIDANCE)) is not None:
        # Of latent consistency models; diffusers' converter leaves it out.
        found["time_embedding.cond_proj.weight"] = guidance
    return found


def standard(checkpoint: Tensors) -> dict[str, torch.Tensor]:
    """The tensors under the original code's names, whichever program saved them."""
    return {
        standard_name(key): tensor.T.contiguous() if is_transposed(key) else tensor
        for key, tensor in checkpoint.items()
    }


def _converted_clip(name: str, model: Any, checkpoint: Tensors) -> dict[str, torch.Tensor]:
    flat = not hasattr(model, "text_model")
    inner = model if flat else model.text_model
    width = inner.embeddings.position_embedding.weight.shape[-1]
    found: dict[str, torch.Tensor] = {}
    for start in ("", *PREFIXES.get(name, ())):
        prefix, fused = (f"{start}transformer.", f"{start}model.") if start else ("", "")
        if _is_wide(checkpoint.get(f"{prefix}text_model.{_POSITIONS}"), width):
            found = {key.removeprefix(prefix): value for key, value in checkpoint.items() if key.startswith(prefix)}
            if start == "text_encoders.clip_l.":
                # The trainers leave this identity out (diffusers does the same).
                found.setdefault("text_projection.weight", torch.eye(width))
            break
        if _is_wide(checkpoint.get(f"{fused}{_OPEN_POSITIONS}"), width):
            found = ldm.convert_open_clip_checkpoint(model, dict(checkpoint), prefix=fused)
            break
    return {key.removeprefix("text_model."): value for key, value in found.items()} if flat else found


def _is_wide(positions: torch.Tensor | None, width: int) -> bool:
    return positions is not None and positions.shape[-1] == width


def _is_t5(model: Any) -> bool:
    return getattr(model.config, "model_type", "") == "t5"
