"""Check that the components of a pipeline fit each other, by their configurations, before the first denoising step."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

import torch

from recipe_runner.pipelines.component_fit import ComponentConfig, misfits
from recipe_runner.problems.problem import WeightsError

_VAE_CLASSES = ("AutoencoderKL", "AutoencoderTiny", "AsymmetricAutoencoderKL", "ConsistencyDecoderVAE")


def check_types(pipeline: type[Any], parts: Mapping[str, Any], made_for: str, left_out: Collection[str] = ()) -> None:
    """Raise unless `parts` are the components that the pipeline class takes, each of a type that its signature names.

    `made_for` is the class that the model's own index names. Another class needs every text component that it can use,
    except those `left_out` on purpose: SDXL's class would run with the one text encoder of SD 1.5, and fail later.

    Raises:
        WeightsError: E505 the class does not take a component, or needs one that is missing; E506 a component of
            another type.
    """
    expected, _ = pipeline._get_signature_keys(pipeline)  # noqa: SLF001 - diffusers' only list of its components
    present = {name: type(part) for name, part in parts.items() if part is not None}
    foreign = [name for name in present if name not in expected]
    spared = {*present, *left_out, *_spared_parts(pipeline, made_for)}
    missing = [name for name in expected if name not in spared]
    reasons = []
    if foreign:
        reasons.append(f"it does not take {', '.join(foreign)}")
    if missing:
        reasons.append(f"it needs {', '.join(missing)}")
    if reasons:
        raise WeightsError.of(
            "E505",
            f"{pipeline.__name__} does not match the model: {' and '.join(reasons)}",
            "set base.pipeline: auto, or name the class that the model was made for",
        )
    check_classes(pipeline, present)


def _spared_parts(pipeline: type[Any], made_for: str) -> Iterator[str]:
    """Components that a model made for the class `made_for` need not have."""
    for name in optional_parts(pipeline):
        if pipeline.__name__ == made_for or not name.startswith(("text_encoder", "tokenizer")):
            yield name


def check_classes(pipeline: type[Any], classes: Mapping[str, type[Any]]) -> None:
    """Raise unless each component's class is one that the pipeline's signature names. Nothing needs to be loaded.

    Raises:
        WeightsError: E506 a component of another type.
    """
    types = pipeline._get_signature_types()  # noqa: SLF001 - diffusers' only list of its components' types
    _, settings = pipeline._get_signature_keys(pipeline)  # noqa: SLF001 - as above
    for name, found in classes.items():
        wanted = tuple(cls for cls in types.get(name, ()) if isinstance(cls, type))
        if name in settings or _accepted(name, found, wanted):
            continue
        names = " or ".join([cls.__name__ for cls in wanted])
        raise WeightsError.of("E506", f"{name}: {pipeline.__name__} needs a {names}, but this is a {found.__name__}")


def optional_parts(pipeline: type[Any]) -> tuple[str, ...]:
    """Components that may be null. Stable Diffusion 3 also runs without its T5 encoder, unlisted by diffusers."""
    optional = tuple(pipeline._optional_components)  # noqa: SLF001 - diffusers' only list of them
    if pipeline.__name__.startswith("StableDiffusion3"):
        return (*optional, "text_encoder_3", "tokenizer_3")
    return optional


def _accepted(name: str, found: type[Any], wanted: tuple[type, ...]) -> bool:
    if name == "scheduler":
        return hasattr(found, "set_timesteps")
    if name.startswith(("tokenizer", "feature_extractor")):
        # Slow, fast and Pillow variants are unrelated classes with the same protocol.
        callable_ = any("__call__" in vars(each) for each in found.__mro__)
        return callable_ and not issubclass(found, torch.nn.Module)
    if name == "vae" and any(cls.__name__ in _VAE_CLASSES for cls in wanted):
        return found.__name__ in _VAE_CLASSES
    return not wanted or issubclass(found, wanted)


def check_shapes(parts: Mapping[str, Any]) -> None:
    """Raise E507 unless latents and embeddings have the width that the denoiser reads."""
    described = {}
    for name, model in parts.items():
        config = getattr(model, "config", None)
        if config is not None:
            described[name] = ComponentConfig(type(model).__name__, _as_dict(config))
    for reason in misfits(described):
        raise WeightsError.of("E507", reason)
    for index in ("", "_2", "_3"):
        tokenizer, encoder = parts.get(f"tokenizer{index}"), parts.get(f"text_encoder{index}")
        if tokenizer is not None and encoder is not None:
            _check_tokenizer(tokenizer, encoder, index)


def _check_tokenizer(tokenizer: Any, encoder: Any, index: str) -> None:
    label = f"tokenizer{index} and text_encoder{index} do not fit"
    rows = encoder.get_input_embeddings().num_embeddings
    if len(tokenizer) > rows:
        raise WeightsError.of("E507", f"{label}: {len(tokenizer)} tokens, but {rows} embeddings")
    positions = getattr(encoder.config, "max_position_embeddings", None)
    if type(encoder).__name__.startswith("CLIP") and positions and tokenizer.model_max_length > positions:
        length = tokenizer.model_max_length
        raise WeightsError.of(
            "E507", f"{label}: prompts of {length} tokens (model_max_length), but {positions} positions"
        )


def _as_dict(config: Any) -> dict[str, Any]:
    found: dict[str, Any] = config.to_dict() if hasattr(config, "to_dict") else dict(config)
    return found
