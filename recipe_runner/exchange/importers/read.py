"""Read the `ForeignGeneration` in a file's bytes, for every program whose format is known."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import Any

from recipe_runner.exchange.importers.comfyui import read_comfyui
from recipe_runner.exchange.importers.containers import Damaged, image_format, image_texts
from recipe_runner.exchange.importers.diffusers_workflow import read_diffusers_workflow
from recipe_runner.exchange.importers.foreign_json import LARGEST_TEXT, read_json
from recipe_runner.exchange.importers.generation import ForeignGeneration, ImportRefused
from recipe_runner.exchange.importers.invokeai import read_dream, read_invokeai, read_sd_metadata
from recipe_runner.exchange.importers.json_parameters import read_json_parameters
from recipe_runner.exchange.importers.parameters import read_parameters
from recipe_runner.problems.problem import Problem

LARGEST_IMAGE = 1024 * 1024 * 1024
"""Bytes."""
_HINT = (
    "import reads images (PNG, JPEG, WebP, AVIF, GIF), `parameters` texts, and JSON of ComfyUI, InvokeAI, Fooocus, "
    "SwarmUI, NovelAI and diffusers-workflow"
)
_TREES: tuple[Callable[[Mapping[str, Any]], ForeignGeneration | None], ...] = (
    read_json_parameters, read_invokeai, read_sd_metadata, read_diffusers_workflow, read_comfyui,
)  # fmt: skip
# In this order: a graph says what was executed, but A1111's text beside one is what the program meant to say.
_KEYWORDS = (
    "invokeai_metadata", "sd-metadata", "Dream", "parameters", "UserComment", "prompt", "Model", "comment", "workflow",
    "Make", "ImageDescription", "generation_data", "XPComment", "Comment", "Description",
)  # fmt: skip


def texts_of(data: bytes) -> Mapping[str, str] | None:
    """Every text in the image with the bytes `data`, by its name; None when `data` is not an image.

    Raises:
        ImportRefused: E851 a damaged image.
    """
    format_name = image_format(data)
    if format_name is None:
        return None
    try:
        return image_texts(data, format_name)
    except Damaged as error:
        raise ImportRefused(Problem(code="E851", message=f"damaged {format_name} image: {error}")) from error


def generation_of(data: bytes, texts: Mapping[str, str] | None) -> ForeignGeneration:
    """What a file says: the `texts` of an image, or the bytes of a text file.

    Raises:
        ImportRefused: E850 nothing in it says how an image was made, E852 neither an image nor text.
    """
    if texts is not None:
        return _of_texts(texts)
    found = read_text(_decoded(data))
    if found is None:
        raise ImportRefused(Problem(code="E850", message="the text has no known format", hint=_HINT))
    return found


def read_text(text: str) -> ForeignGeneration | None:
    """What one text says: `parameters`, a `Dream` line, or any of the JSON formats; None for any other text."""
    if len(text) > LARGEST_TEXT:
        return None
    text = _without_label(text.strip().removeprefix("\ufeff").strip())
    tree = read_json(text)
    if isinstance(tree, Mapping):
        return _of_tree(tree)
    if tree is not None:
        return None
    found = read_parameters(text)
    if found is None and " -" in text:
        return read_dream(text)
    return found


def _without_label(text: str) -> str:
    """The graph behind `prompt:` or `workflow:`, as ComfyUI writes it into EXIF."""
    label, _, graph = text.partition(":")
    if label.lower() in ("prompt", "workflow") and graph.lstrip().startswith("{"):
        return graph
    return text


def _of_tree(tree: Mapping[str, Any]) -> ForeignGeneration | None:
    for reader in _TREES:
        found = reader(tree)
        if found is not None:
            return found
    # Chunks of an image saved as one object, each a text or an object.
    for keyword in _KEYWORDS:
        found = _of_chunk(tree.get(keyword), keyword)
        if found is not None:
            return found
    return None


def _of_chunk(value: Any, keyword: str) -> ForeignGeneration | None:
    if isinstance(value, Mapping):
        return _of_tree(value)
    if isinstance(value, str) and keyword != "prompt":
        return read_text(value)
    return None


def _of_texts(texts: Mapping[str, str]) -> ForeignGeneration:
    for keyword in _ordered(texts):
        found = read_text(texts[keyword])
        if found is not None:
            return found
    message = "the image has no text"
    if texts:
        message = f"the image's texts ({', '.join(map(_shown, islice(texts, 8)))}) have no known format"
    raise ImportRefused(Problem(code="E850", message=message, hint=_HINT))


def _shown(name: str) -> str:
    return "".join(filter(str.isprintable, name[:30]))


def _ordered(texts: Mapping[str, str]) -> Iterator[str]:
    known = {name.lower(): name for name in texts}
    first = [known[name.lower()] for name in _KEYWORDS if name.lower() in known]
    yield from dict.fromkeys([*first, *texts])


def _decoded(data: bytes) -> str:
    encoding = "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        raise ImportRefused(
            Problem(code="E852", message="neither an image of a known format nor text", hint=_HINT)
        ) from error
