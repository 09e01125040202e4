"""A file's bytes to the `Generation` that they hold, whatever program wrote them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from recipe_runner.exchange.importers.comfyui import read_comfyui
from recipe_runner.exchange.importers.containers import Damaged, picture_format, picture_texts
from recipe_runner.exchange.importers.diffusers_workflow import read_diffusers_workflow
from recipe_runner.exchange.importers.foreign_json import LARGEST_TEXT, read_json
from recipe_runner.exchange.importers.generation import Generation, ImportRefused
from recipe_runner.exchange.importers.invokeai import read_dream, read_invokeai, read_sd_metadata
from recipe_runner.exchange.importers.json_parameters import read_json_parameters
from recipe_runner.exchange.importers.parameters import read_parameters
from recipe_runner.problems.problem import Problem

LARGEST_PICTURE = 1024 * 1024 * 1024
"""Bytes."""
_FORMATS = (
    "pictures (PNG, JPEG, WebP, AVIF, GIF), `parameters` texts, and JSON of ComfyUI, InvokeAI and diffusers-workflow"
)
_TREES: tuple[Callable[[Mapping[str, Any]], Generation | None], ...] = (
    read_json_parameters, read_invokeai, read_sd_metadata, read_diffusers_workflow, read_comfyui,
)  # fmt: skip
# Most exact first: a graph says what was executed, but A1111's text beside one is what the program meant to tell.
_KEYWORDS = (
    "invokeai_metadata", "sd-metadata", "Dream", "parameters", "UserComment", "prompt", "Model", "comment", "workflow",
    "Make", "ImageDescription", "generation_data", "XPComment", "Comment", "Description",
)  # fmt: skip


def texts_of(data: bytes) -> Mapping[str, str] | None:
    """Every text in the picture with the bytes `data`, by its name; None for what is no picture.

    Raises:
        ImportRefused: E851 a damaged picture.
    """
    format_name = picture_format(data)
    if format_name is None:
        return None
    try:
        return picture_texts(data, format_name)
    except Damaged as error:
        message = f"not a {format_name} picture that can be read: {error}"
        raise ImportRefused(Problem(code="E851", message=message)) from error


def generation_of(data: bytes, texts: Mapping[str, str] | None) -> Generation:
    """What a file says: the `texts` of a picture, or the bytes of a text file.

    Raises:
        ImportRefused: E850 nothing in it says how a picture was made, E852 no picture and no text.
    """
    if texts is not None:
        return _of_texts(texts)
    text = _decoded(data)
    found = read_text(text)
    if found is None:
        refusal = _nothing("the text is of no format that is known here")
        raise refusal
    return found


def read_text(text: str) -> Generation | None:
    """What one text says: `parameters`, a `Dream` line, or any of the JSON formats; None for anything else."""
    if len(text) > LARGEST_TEXT:
        return None
    text = text.strip().removeprefix("\ufeff").strip()
    for name in ("prompt:", "workflow:"):
        # ComfyUI's way of putting graphs into EXIF.
        if text[: len(name)].lower() == name and text[len(name) :].lstrip()[:1] == "{":
            text = text[len(name) :]
    tree = read_json(text)
    if isinstance(tree, Mapping):
        return _of_tree(tree)
    if tree is not None:
        return None
    return read_parameters(text) or (read_dream(text) if " -" in text else None)


def _of_tree(tree: Mapping[str, Any]) -> Generation | None:
    for reader in _TREES:
        found = reader(tree)
        if found is not None:
            return found
    # Chunks of a picture saved as one object, each a text or an object.
    for keyword in _KEYWORDS:
        inner = tree.get(keyword)
        found = read_text(inner) if isinstance(inner, str) and keyword != "prompt" else None
        found = _of_tree(inner) if isinstance(inner, Mapping) and inner is not tree else found
        if found is not None:
            return found
    return None


def _of_texts(texts: Mapping[str, str]) -> Generation:
    for keyword in _ordered(texts):
        found = read_text(texts[keyword])
        if found is not None:
            return found
    names = ", ".join("".join(c for c in name[:30] if c.isprintable()) for name in list(texts)[:8])
    raise _nothing(
        f"the picture's texts ({names}) are of no format that is known here" if texts else "no text is in the picture"
    )


def _ordered(texts: Mapping[str, str]) -> Iterator[str]:
    known = {name.lower(): name for name in texts}
    first = [known[name.lower()] for name in _KEYWORDS if name.lower() in known]
    yield from dict.fromkeys([*first, *texts])


def _nothing(message: str) -> ImportRefused:
    return ImportRefused(Problem(code="E850", message=message, hint=f"read are {_FORMATS}"))


def _decoded(data: bytes) -> str:
    encoding = "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        message = "neither a picture of a known format nor text"
        raise ImportRefused(Problem(code="E852", message=message, hint=f"read are {_FORMATS}")) from error
    return text
