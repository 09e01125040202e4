"""Resolved recipes made by hand, for tests of what comes after resolving."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from recipe_runner.plan.resolved import ResolvedLora, ResolvedMerge, ResolvedTextualInversion
from recipe_runner.plan.resolved_base import ResolvedBase
from recipe_runner.plan.resolved_recipe import ResolvedPrompt, ResolvedRecipe, ResolvedVariant
from recipe_runner.problems.place import Place
from recipe_runner.sources.source import Source, SourceFile


def source(address: str, sha256: str) -> Source:
    """A source of one file with these contents."""
    files = (SourceFile(name="weights.safetensors", size=1, sha256=sha256),)
    return Source(address=address, root=Path("nowhere"), files=files)


def base(sha256: str = "b" * 64, **changes: Any) -> ResolvedBase:
    """A base."""
    values: dict[str, Any] = {
        "source": source("base", sha256),
        "pipeline": "StableDiffusionPipeline",
        "weight_name": None,
        "config": None,
        "dtype": "float32",
        "variant": None,
        "scheduler_class": None,
        "scheduler_config": {},
        "components": {},
        "allow_pickle": False,
        "origin": Place("recipe.yaml", 4, 3, source_line="  model: base"),
    }
    return ResolvedBase(**(values | changes))


def lora(
    name: str = "style", scale: Any = 1.0, tensors: dict[str, int] | None = None, sha256: str = "a" * 64
) -> ResolvedLora:
    """A LoRA."""
    return ResolvedLora(
        name=name,
        source=source(name, sha256),
        scale=scale,
        tensors=tensors or {"unet": 4},
        origin=Place("recipe.yaml", 7, 3, source_line=f"  {name}:"),
    )


def merge(*members: str) -> ResolvedMerge:
    """A merge of LoRAs with these names."""
    return ResolvedMerge(
        name="mix",
        weights=tuple(1.0 for _ in members),
        combination_type="cat",
        members=tuple(lora(member, sha256=member * 64) for member in members),
        scale=1.0,
        tensors={"unet": 4 * len(members)},
        origin=Place("recipe.yaml", 9, 3, source_line="  mix:"),
    )


def textual_inversion(token: str) -> ResolvedTextualInversion:
    """A textual inversion."""
    return ResolvedTextualInversion(
        name="token", source=source("token", "e" * 64), token=token, tensors={"text_encoder": 1}
    )


def prompt(name: str, text: str | None = None) -> ResolvedPrompt:
    """A prompt."""
    return prompt_of(name, {"prompt": text or name})


def prompt_of(name: str, texts: dict[str, str]) -> ResolvedPrompt:
    """A prompt with these texts."""
    place = Place("recipe.yaml", 10, 5, source_line=f"  - id: {name}")
    negatives = {key: Place("recipe.yaml", 11, 5) for key in texts if key.startswith("negative_prompt")}
    return ResolvedPrompt(id=name, texts=texts, origin=place, negative_origins=negatives)


SAMPLING = {"num_inference_steps": 4, "guidance_scale": 5.0}
PROMPTS = (prompt("bear"), prompt("cat"))


def variant(index: int = 0, **changes: Any) -> ResolvedVariant:
    """A variant of two prompts and two seeds."""
    values: dict[str, Any] = {
        "index": index,
        "values": {},
        "base": base(),
        "adapters": (),
        "prompts": PROMPTS,
        "seeds": (1, 2),
        "sampling": SAMPLING,
        "output": {"format": "png", "quality": None},
    }
    return ResolvedVariant(**(values | changes))


def recipe(*variants: ResolvedVariant, **changes: Any) -> ResolvedRecipe:
    """A recipe of these variants."""
    values: dict[str, Any] = {
        "name": "test",
        "variants": variants or (variant(),),
        "device": "cpu",
        "reproducibility": "strict",
        "batch_size": 4,
        "threads": 1,
        "allow_pickle": False,
    }
    return ResolvedRecipe(**(values | changes))
