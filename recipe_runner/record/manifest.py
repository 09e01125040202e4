"""The manifest: the inputs and the images of a run, so that anyone can review and check it.

Equal contents give equal bytes: keys are in a fixed order, and there is no clock time, host name or absolute path.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, Strict, StringConstraints, ValidationError

from recipe_runner.canonical import parse_json
from recipe_runner.disk.atomic import reading, write_if_changed
from recipe_runner.disk.inside import inside
from recipe_runner.problems.place import Place
from recipe_runner.problems.problem import Problem, RecordError
from recipe_runner.recipe.types.fields import EXAMPLE_DIGEST, Digest, Seed, Strictly
from recipe_runner.record.environment import Environment
from recipe_runner.record.inputs import AdapterRecord, SourceRecord
from recipe_runner.record.names import DOCUMENTS

ImagePath = Annotated[str, StringConstraints(pattern=r"^images/[A-Za-z0-9][A-Za-z0-9_.-]{0,199}$")]


class Git(Strictly):
    """The commit of the recipe's repository."""

    commit: str = Field(
        pattern=r"^[0-9a-f]{40}([0-9a-f]{24})?$",
        title="Commit",
        description="The commit that was checked out.",
        examples=["67ea782f0c2b1f0e7a0d3a5b9c8d7e6f5a4b3c2d"],
    )
    dirty: bool = Field(
        title="Dirty",
        description="True when a tracked file differs from that commit, or the recipe itself is not tracked.",
        examples=[False],
    )


class Failure(Strictly):
    """Why a run is not complete."""

    code: str = Field(title="Code", description="The problem's code.", pattern=r"^[EW][0-9]{3}$", examples=["E705"])
    message: str = Field(title="Message", description="The problem.", examples=["the image has NaN pixels"])
    node: str | None = Field(
        None, title="Node", description="Key of the node that failed, where one did.", examples=["denoise:4f0c2b"]
    )
    line: int | None = Field(
        None, ge=1, title="Line", description="The line of recipe.yaml that it goes back to.", examples=[14]
    )


class ImageRecord(Strictly):
    """One image of the run."""

    path: ImagePath = Field(
        title="Path", description="The file, relative to the run folder.", examples=["images/bears-33.png"]
    )
    variant: Mapping[str, Any] = Field(
        title="Variant",
        description="The value of each matrix axis, by its path and in the matrix's order.",
        examples=[{"adapters.cereal.scale": 0.5}],
    )
    prompt: str = Field(title="Prompt id", description="The id of the prompt.", examples=["bears"])
    seed: Seed = Field(title="Seed", description="The seed.", examples=[33])
    node_key: Digest = Field(
        title="Node key", description="Identity of the node that makes the image: all that it depends on."
    )
    file_sha256: Digest = Field(title="File sha256", description="sha256 of the file.")
    pixel_sha256: Digest = Field(
        title="Pixel sha256",
        description="sha256 of the pixels before the file was encoded: rows from the top, pixels from the left, one "
        "byte each for red, green and blue, no header. Of a lossless file, "
        "`sha256(Image.open(path).convert('RGB').tobytes())`.",
    )
    width: int = Field(ge=1, title="Width", description="Width in pixels.", examples=[1024])
    height: int = Field(ge=1, title="Height", description="Height in pixels.", examples=[1024])
    environment: Environment | None = Field(
        None,
        title="Environment",
        description="The environment that made this image, where it is not the run's; else null.",
        examples=[None],
    )


class Manifest(Strictly):
    """What a run was made from, and what it made."""

    manifest: Literal[1] = Field(1, title="Format version", description="Version of the manifest.", examples=[1])
    status: Literal["complete", "failed"] = Field(
        title="Status", description="Whether every image of the plan was made.", examples=["complete"]
    )
    failure: Failure | None = Field(
        None, title="Failure", description="Why the run is not complete; else null.", examples=[None]
    )
    name: str = Field(title="Name", description="The recipe's name.", examples=["cereal-or-film"])
    plan_digest: Digest = Field(
        title="Plan digest", description="Identity of everything the plan makes; names the run folder."
    )
    recipe_sha256: Digest = Field(title="Recipe digest", description="sha256 of recipe.yaml.")
    overrides: Annotated[tuple[str, ...], Strict(strict=False)] = Field(
        (),
        title="Overrides",
        description="The values of `--set`, in order.",
        examples=[["sampling.num_inference_steps=10"]],
    )
    lock_sha256: Digest | None = Field(
        None,
        title="Lock digest",
        description="sha256 of recipe.lock.yaml; null where the run had no lock.",
        examples=[EXAMPLE_DIGEST],
    )
    git: Git | None = Field(
        None,
        title="Git",
        description="The recipe's repository; null where it lies in none.",
        examples=[{"commit": "67ea782f0c2b1f0e7a0d3a5b9c8d7e6f5a4b3c2d", "dirty": False}],
    )
    sources: Annotated[tuple[SourceRecord, ...], Strict(strict=False)] = Field(
        title="Sources",
        description="Every source of weights and images, in the recipe's order.",
        examples=[[{"role": "base", "address": "demo/model", "digest": EXAMPLE_DIGEST, "files": []}]],
    )
    adapters: Annotated[tuple[AdapterRecord, ...], Strict(strict=False)] = Field(
        title="Adapters",
        description="Every adapter, in the recipe's order.",
        examples=[[{"name": "cereal", "kind": "lora", "tensors": {}, "scales": [0.8]}]],
    )
    environment: Environment = Field(
        title="Run environment",
        description="The environment of the run.",
        examples=[{"versions": {"torch": "2.13.0"}, "device": "cpu", "reproducibility": "strict", "determinism": {}}],
    )
    images: Annotated[tuple[ImageRecord, ...], Strict(strict=False)] = Field(
        title="Images",
        description="Every image that is whole, in the plan's order.",
        examples=[[{"path": "images/bears-33.png", "prompt": "bears", "seed": 33}]],
    )


def manifest_bytes(manifest: Manifest) -> bytes:
    """The bytes of manifest.json: UTF-8, indented, keys in the order of the types, ending with a newline."""
    text = json.dumps(manifest.model_dump(mode="json"), indent=2, ensure_ascii=False, allow_nan=False)
    return text.encode("utf-8") + b"\n"


def write_manifest(path: Path, manifest: Manifest) -> bool:
    """Write manifest.json unless it already has these bytes; returns whether it was written.

    Raises:
        RecordError: E801.
    """
    return write_if_changed(path, manifest_bytes(manifest))


def read_manifest(path: Path) -> Manifest:
    """The manifest in the file `path` of a run folder; all files of the run must be in the folder itself.

    Raises:
        RecordError: E805, a document of the folder, or an image in the manifest, is a symbolic link out of the folder;
            E802, the file cannot be read; E804, once for each fault, it is not a manifest.
    """
    if not path.exists():
        message = "run folder not found"
        if path.parent.exists():
            message = f"{path.parent} is not a run folder: it has no {path.name}"
        hint = "Name a run folder; `recipe-runner runs list` shows them."
        raise RecordError(Problem(code="E802", message=message, place=Place(str(path.parent)), hint=hint))
    for name in DOCUMENTS:
        inside(path.parent, name)
    with reading(path):
        data = path.read_bytes()
    manifest = manifest_from(data, str(path))
    for image in manifest.images:
        inside(path.parent, image.path)
    return manifest


def manifest_from(data: bytes, source: str) -> Manifest:
    """The manifest in `data`; `source` is the name of the file for messages.

    Raises:
        RecordError: E804, once for each fault.
    """
    try:
        tree = parse_json(data)
    except json.JSONDecodeError as error:
        raise RecordError(_fault(source, f"not JSON: {error.msg}", error.lineno, error.colno)) from error
    except ValueError as error:
        raise RecordError(_fault(source, str(error))) from error
    try:
        return Manifest.model_validate(tree)
    except ValidationError as error:
        faults = error.errors(include_url=False, include_context=False, include_input=False)
        problems = [_fault(source, f"{_pointer(fault['loc'])}: {fault['msg']}") for fault in faults]
        raise RecordError(*problems) from error


def _pointer(location: tuple[int | str, ...]) -> str:
    text = ""
    for part in location:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += f".{part}"
    return text.removeprefix(".") or "the document"


def _fault(source: str, message: str, line: int = 0, column: int = 0) -> Problem:
    return Problem(
        code="E804",
        message=f"not a manifest: {message}",
        place=Place(source, line, column),
        hint="Only `recipe-runner run` writes manifests. Run the recipe again to write a new one.",
    )
