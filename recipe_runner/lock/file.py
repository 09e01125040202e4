"""The lock file: for every source its address as written, the commit, and each file's size and digests.

Equal contents give equal bytes, and a change gives a small diff: one or two lines for each file, sources in the
recipe's order, and nothing about the time or the machine.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import ConfigDict, Field, Strict, model_validator
from pydantic.config import JsonDict

from recipe_runner.disk.inside import FORM, URL_FILE_PATTERN, is_plain_path
from recipe_runner.document.document import Document, parse_document
from recipe_runner.document.write_yaml import to_yaml
from recipe_runner.problems.place import Place
from recipe_runner.problems.problem import Problem, ResolutionError
from recipe_runner.recipe.rules.secrets import in_values
from recipe_runner.recipe.schema.check import check_lock
from recipe_runner.recipe.types.fields import EXAMPLE_DIGEST, Digest, FileRecord, Strictly
from recipe_runner.sources.access import access
from recipe_runner.sources.source import Address, Source
from recipe_runner.weights.files.digests import autov3

LIBRARIES = ("torch", "diffusers", "transformers", "peft", "accelerate", "safetensors", "tokenizers", "numpy", "pillow")
"""Libraries that can change a pixel and that are always installed."""
HEADER = "# Written by `recipe-runner lock`. Commit it beside the recipe; do not edit it by hand.\n"
RUN_HEADER = "# The files that the run was made from, in the form of `recipe-runner lock`.\n"
SUFFIX = ".lock.yaml"


class LockedFile(FileRecord):
    """One file of a source."""

    autov3: Digest | None = Field(
        None,
        title="AutoV3",
        description="Of a safetensors file: sha256 of its bytes after the header, whose first 12 digits Civitai and "
        "A1111 call AutoV3.",
    )


_NAME_IN_URL: JsonDict = {"type": "object", "properties": {"name": {"type": "string", "pattern": URL_FILE_PATTERN}}}
_FILES_OF_URL: JsonDict = {"files": {"type": "array", "maxItems": 1, "items": _NAME_IN_URL}}


class LockedSource(Strictly):
    """One source of the recipe, as it was written and as it was found."""

    model_config = ConfigDict(
        json_schema_extra={
            "if": {"properties": {"address": {"type": "string", "pattern": "://"}}},
            "then": {"properties": _FILES_OF_URL},
        }
    )

    address: str = Field(
        min_length=1,
        title="Address",
        description="The address as the recipe writes it.",
        examples=["stabilityai/stable-diffusion-xl-base-1.0"],
    )
    revision: str | None = Field(
        None, title="Revision", description="The revision as the recipe writes it.", examples=["main"]
    )
    subfolder: str | None = Field(
        None, title="Subfolder", description="The subfolder as the recipe writes it.", examples=["sdxl_models"]
    )
    weight_name: str | None = Field(
        None,
        title="Weights file",
        description="The weights file as the recipe writes it.",
        examples=["pytorch_lora_weights.safetensors"],
    )
    variant: str | None = Field(
        None, title="Variant", description="The variant as the recipe writes it.", examples=["fp16"]
    )
    commit: str | None = Field(
        None,
        pattern=r"^[0-9a-f]{40}$",
        title="Commit",
        description="The commit of a Hub repository; left out for what is none.",
        examples=["462165984030d82259a11f4367a4eed129e94a7b"],
    )
    files: Annotated[tuple[LockedFile, ...], Strict(strict=False)] = Field(
        min_length=1,
        title="Files",
        description="The files that are used, sorted by name.",
        examples=[[{"name": "model.safetensors", "size": 8192, "sha256": EXAMPLE_DIGEST}]],
    )

    @model_validator(mode="after")
    def _one_plain_name_for_a_url(self) -> Self:
        if "://" not in self.address:
            return self
        if len(self.files) != 1 or not re.fullmatch(URL_FILE_PATTERN, self.files[0].name):
            message = "a URL has one file, whose name is plain"
            raise ValueError(message)
        return self

    @property
    def file_names(self) -> list[str]:
        """The names of its files."""
        return [file.name for file in self.files]

    @property
    def written(self) -> Address:
        """The address as the recipe writes it."""
        return Address(
            model=self.address,
            revision=self.revision,
            subfolder=self.subfolder,
            weight_name=self.weight_name,
            variant=self.variant,
        )


class Lock(Strictly):
    """The sources of a recipe, pinned: the same recipe with the same lock gives the same images."""

    # Not Literal[1], which takes true and 1.0 for 1.
    lock: int = Field(
        ge=1,
        le=1,
        json_schema_extra={"const": 1},
        title="Format version",
        description="Version of the lock's format; this is version 1.",
        examples=[1],
    )
    sources: Mapping[str, LockedSource] = Field(
        title="Sources",
        description="Every source, by the path of the recipe that names it and in the recipe's order.",
        examples=[{"base": {"address": "demo/model", "files": []}}],
    )
    libraries: Mapping[str, str] = Field(
        {},
        title="Libraries",
        description="Versions of the libraries that the recipe was locked with. Others may draw other last bits.",
        examples=[{"diffusers": "0.42.1", "torch": "2.13.0"}],
    )


def lock_beside(recipe: Path) -> Path:
    """The path of a recipe's lock: `<stem>.lock.yaml` beside it."""
    return recipe.with_name(recipe.stem + SUFFIX)


def read_lock(path: Path) -> Lock | None:
    """The lock in the file `path`; None when there is no such file.

    Raises:
        RecipeSyntaxError: it is not YAML.
        ResolutionError: E118 it cannot be read; E2xx it is not a lock, every problem at its place.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        reason = error.strerror or type(error).__name__
        problem = Problem(code="E118", message=f"cannot read the lock: {reason}", place=Place(str(path), 1, 1))
        raise ResolutionError(problem) from error
    return lock_from(data, str(path))


def lock_from(data: bytes, source: str) -> Lock:
    """The lock that `data` holds; `source` names it in problems.

    Raises:
        RecipeSyntaxError: it is not YAML.
        ResolutionError: E2xx it is not a lock, E439 an address holds a secret, every problem at its place.
    """
    document = parse_document(data, source)
    problems = check_lock(document) or (*_long_names(document), *_secrets(document))
    if problems:
        raise ResolutionError(*problems)
    return Lock.model_validate(document.tree)


def _secrets(document: Document) -> Iterator[Problem]:
    """Addresses that hold a credential."""
    for finding in in_values(document.tree):
        yield finding.placed(document)


def _long_names(document: Document) -> Iterator[Problem]:
    """Names that are too long in bytes, which a schema cannot count."""
    sources: Mapping[str, Any] = document.tree["sources"]  # type: ignore[assignment]
    for role, source in sources.items():
        for index, file in enumerate(source["files"]):
            if not is_plain_path(file["name"]):
                message = f"sources.{role}.files[{index}].name has a part that is too long"
                yield document.problem("E208", message, ("sources", role, "files", index, "name"), FORM)


def locked_source(source: Source) -> LockedSource:
    """The entry of a source that was found.

    Raises:
        WeightsError: a file of it cannot be read.
    """
    files = []
    for file in source.files:
        digest = _autov3(source, file.name)
        files.append(LockedFile(name=file.name, size=file.size, sha256=file.sha256, autov3=digest))
    written = source.written
    return LockedSource(
        address=source.address,
        revision=written.revision,
        subfolder=written.subfolder,
        weight_name=written.weight_name,
        variant=written.variant,
        commit=source.commit,
        files=tuple(files),
    )


def _autov3(source: Source, name: str) -> str | None:
    if not name.endswith(".safetensors"):
        return None
    meter = access().meter
    return autov3(source.path(name), lambda done, total: meter.hashing(name, done, total))


def lock_text(lock: Lock, header: str = HEADER) -> str:
    """The text of a lock file."""
    tree: dict[str, Any] = lock.model_dump(mode="json", exclude_none=True)
    libraries = tree.pop("libraries")
    return header + to_yaml(tree) + to_yaml({"libraries": libraries}, inline=False)


def installed_libraries() -> dict[str, str]:
    """Versions of the libraries, by name, without local parts such as `+cpu`, which only name the build."""
    found = {}
    for name in LIBRARIES:
        try:
            text = distribution(name).read_text("METADATA") or ""
        except PackageNotFoundError:
            continue
        # `version(name)` parses the whole text as an e-mail, which takes longer than checking a lock.
        line = next((line for line in text.splitlines() if line.startswith("Version:")), "Version: unknown")
        found[name] = line.partition(":")[2].strip().partition("+")[0]
    return found
