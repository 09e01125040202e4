"""Shared parts of the types: the strict base model and the constrained scalars."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, Strict, StringConstraints

from recipe_runner.disk.inside import FILE_PATTERN, is_plain_path

NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$"
"""Adapter names and prompt ids: safe in file names, in node keys and in diffusers' adapter names (no dots)."""

Name = Annotated[str, StringConstraints(pattern=NAME_PATTERN)]
Text = Annotated[str, StringConstraints(max_length=20_000)]
Address = Annotated[str, StringConstraints(min_length=1, max_length=2_000, pattern=r"^[^\x00-\x1f\x7f]+$")]
Number = Annotated[float, Field(allow_inf_nan=False)]
NumberList = Annotated[tuple[Number, ...], Strict(strict=False), Field(min_length=1)]
Seed = Annotated[int, Field(ge=0, le=2**64 - 1)]

BlockScale = Number | NumberList
"""Scale of a block: one number for all its attentions, or a list with one number for each."""
DirectionScale = BlockScale | Mapping[str, BlockScale]
"""Scale of `down`, `mid` or `up`: one for all, or a mapping of `block_0`, `block_1`, … to their scales."""
ModelScale = Number | Mapping[str, DirectionScale]
"""Scale of a UNet or transformer: one for all, or a mapping of its blocks."""

Scalar = bool | int | Number | Text | None


EXAMPLE_DIGEST = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$"), Field(examples=[EXAMPLE_DIGEST])]
"""A sha256 in lower-case hexadecimal."""


class Strictly(BaseModel):
    """A frozen record that converts no types and refuses unknown keys."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", populate_by_name=False)


def _plain(name: str) -> str:
    if not is_plain_path(name):
        raise ValueError("not a plain POSIX path inside the source's folder")
    return name


class FileRecord(Strictly):
    """One file of a source."""

    name: Annotated[str, AfterValidator(_plain)] = Field(
        json_schema_extra={"pattern": FILE_PATTERN},
        title="Name",
        description="POSIX path inside the source.",
        examples=["unet/diffusion_pytorch_model.fp16.safetensors"],
    )
    size: int = Field(ge=0, title="Size", description="Size in bytes.", examples=[1719125304])
    sha256: Digest = Field(title="sha256", description="sha256 of the file.")
