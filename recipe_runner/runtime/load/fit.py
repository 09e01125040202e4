"""Do the parts of a pipeline fit each other? Asked of their configurations, before the first denoising step."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import torch

from recipe_runner.pipelines.component_fit import ComponentConfig, misfits
from recipe_runner.problems.problem import WeightsError

_VAE_CLASSES = ("AutoencoderKL", "AutoencoderTiny", "AsymmetricAutoencoderKL", "ConsistencyDecoderVAE")


def check_types(pipeline: type[Any], parts: Mapping[str, Any], made_for: str, left_out: Collection[str] = ()) -> None:
    """Raise unless `parts` are the components that the pipeline class takes, each of a type that its signature names.

    `made_for` is the class that the model's own index names. Another class gets no part less than it can use, but for
    those `left_out` on purpose: SDXL's would run with the one text encoder of SD 1.5, and fail in the middle.

    Raises:
        WeightsError: E505 the class takes no such component, or lacks one it needs; E506 a component of another type.
    """
    needed, _ = pipeline._get_signature_keys(pipeline)  # noqa: SLF001 - diffusers' only account of its components
    foreign = [name for name, part in parts.items() if part is not None and name not in needed]
    spared = tuple(name for name in optional_parts(pipeline) if pipeline.__name__ == made_for or not _is_text(name))
    absent = [name for name in needed if parts.get(name) is None and name not in (*spared, *left_out)]
    if foreign or absent:
        said = [f"it takes no {', '.join(foreign)}"] * bool(foreign) + [f"it needs {', '.join(absent)}"] * bool(absent)
        raise WeightsError.of(
            "E505",
            f"{pipeline.__name__} does not match the model: {' and '.join(said)}",
            "set base.pipeline: auto, or name the class that the model was made for",
        )
    check_classes(pipeline, {name: type(part) for name, part in parts.items() if part is not None})


def check_classes(pipeline: type[Any], classes: Mapping[str, type[Any]]) -> None:
    """Raise unless each component's class is one that the pipeline's signature names; it need not be loaded for that.

    Raises:
        WeightsError: E506 a component of another type.
    """
    types = pipeline._get_signature_types()  # noqa: SLF001 - diffusers' only account of its components' types
    _, settings = pipeline._get_signature_keys(pipeline)  # noqa: SLF001 - as above
    for name, found in classes.items():
        wanted = tuple(cls for cls in types.get(name, ()) if isinstance(cls, type))
        if name in settings or _accepted(name, found, wanted):
            continue
        names = " or ".join(cls.__name__ for cls in wanted)
        raise WeightsError.of("E506", f"{name}: {pipeline.__name__} needs a {names}, and this is a {found.__name__}")


def optional_parts(pipeline: type[Any]) -> tuple[str, ...]:
    """Components that may be null. Stable Diffusion 3 also runs without its T5 encoder, though it does not say so."""
    extra = ("text_encoder_3", "tokenizer_3") if pipeline.__name__.startswith("StableDiffusion3") else ()
    return (*pipeline._optional_components, *extra)  # noqa: SLF001 - diffusers' only list of them


def _is_text(name: str) -> bool:
    return name.startswith(("text_encoder", "tokenizer"))


def _accepted(name: str, found: type[Any], wanted: tuple[type, ...]) -> bool:
    if name == "scheduler":
        return hasattr(found, "set_timesteps")
    if name.startswith(("tokenizer", "feature_extractor")):
        # Slow, fast and Pillow variants are classes of their own with one protocol.
        read = any("__call__" in vars(each) for each in found.__mro__)
        return read and not issubclass(found, torch.nn.Module)
    if name == "vae" and any(cls.__name__ in _VAE_CLASSES for cls in wanted):
        return found.__name__ in _VAE_CLASSES
    return not wanted or issubclass(found, wanted)


def check_shapes(parts: Mapping[str, Any]) -> None:
    """Raise E507 unless latents and embeddings have the width that the denoiser reads."""
    described = {name: part for name, model in parts.items() if (part := _described(model)) is not None}
    for reason in misfits(described):
        raise WeightsError.of("E507", reason)
    for index in ("", "_2", "_3"):
        tokenizer, encoder = parts.get(f"tokenizer{index}"), parts.get(f"text_encoder{index}")
        if tokenizer is not None and encoder is not None:
            rows = encoder.get_input_embeddings().num_embeddings
            if len(tokenizer) > rows:
                names = f"tokenizer{index} and text_encoder{index}"
                raise WeightsError.of("E507", f"{names} do not fit: {len(tokenizer)} tokens, and {rows} embeddings")
            positions = getattr(encoder.config, "max_position_embeddings", None)
            if type(encoder).__name__.startswith("CLIP") and positions and tokenizer.model_max_length > positions:
                names = f"tokenizer{index} and text_encoder{index}"
                said = f"prompts of {tokenizer.model_max_length} tokens (model_max_length), and {positions} positions"
                raise WeightsError.of("E507", f"{names} do not fit: {said}")


def _described(model: Any) -> ComponentConfig | None:
    config = getattr(model, "config", None)
    if config is None:
        return None
    return ComponentConfig(type(model).__name__, config.to_dict() if hasattr(config, "to_dict") else dict(config))
