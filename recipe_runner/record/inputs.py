"""What a run was made from, as its manifest writes it: sources with their files' digests, and adapters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, Strict

from recipe_runner.recipe.types.fields import EXAMPLE_DIGEST, Digest, FileRecord, Strictly


class SourceRecord(Strictly):
    """Where weights, or an image that goes in, came from."""

    role: str = Field(
        min_length=1,
        title="Role",
        description="The recipe path that names the source.",
        examples=["base", "base.components.vae", "adapters.cereal"],
    )
    address: str = Field(
        min_length=1,
        title="Address",
        description="The address as the recipe writes it.",
        examples=["stabilityai/stable-diffusion-xl-base-1.0"],
    )
    commit: str | None = Field(
        None,
        title="Commit",
        description="The resolved commit of a Hub repository; else null.",
        examples=["462165984030d82259a11f4367a4eed129e94a7b"],
    )
    digest: Digest = Field(
        title="Digest", description="Identity of the contents: of one file its sha256, else of names and contents."
    )
    files: Annotated[tuple[FileRecord, ...], Strict(strict=False)] = Field(
        min_length=1,
        title="Files",
        description="The files that were used, sorted by name.",
        examples=[[{"name": "model.safetensors", "size": 8192, "sha256": EXAMPLE_DIGEST}]],
    )


class ComponentMatch(Strictly):
    """How many of an adapter's tensors belong to a component of the pipeline, and how many landed there."""

    matched: int = Field(ge=0, title="Matched", description="Tensors that landed.", examples=[264])
    total: int = Field(ge=0, title="Total", description="Tensors that the file has for it.", examples=[264])


class AdapterRecord(Strictly):
    """One adapter as it was applied."""

    name: str = Field(
        min_length=1,
        title="Name",
        description="Its name in the recipe. Where variants differ in its weights or in what lands, later ones carry "
        "`#2`, `#3`, ….",
        examples=["cereal", "cereal#2"],
    )
    kind: Literal["lora", "textual_inversion", "ip_adapter", "merge"] = Field(
        title="Kind", description="Its kind in the recipe.", examples=["lora"]
    )
    tensors: Mapping[str, ComponentMatch] = Field(
        title="Tensors",
        description="Matched and total tensor counts by component; empty where the adapter reads no file.",
        examples=[{"unet": {"matched": 264, "total": 264}}],
    )
    scales: Annotated[tuple[Any, ...], Strict(strict=False)] = Field(
        title="Effective scales",
        description="The scales that its variants used, each once, in their order: a number, or the scale of "
        "every block written out.",
        examples=[[0.0, 0.5, 1.0]],
    )
