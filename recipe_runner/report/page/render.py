"""Pages that open from disk: one file with its styles and scripts, which loads nothing from the network."""

from __future__ import annotations

import base64
import hashlib
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup

from recipe_runner.report.escape import html_text

STYLE = "assets/page.css"
SLIDER = "vendor/img-comparison-slider.js"
LIBRARIES = ("vendor/panzoom.min.js", SLIDER)
_TINY = 160
"""Images with a smaller longer side are enlarged."""
_MIME = {".png": "image/png", ".webp": "image/webp", ".jpg": "image/jpeg"}


def render(template: str, scripts: Sequence[str], **values: Any) -> bytes:
    """The page as UTF-8: `template` with every value escaped, and the named scripts.

    Recipes and images of strangers are shown, so the page's security policy runs only its own scripts, which are listed
    by digest, and loads nothing.
    """
    environment = Environment(
        # An asset that cannot be read raises OSError, not an error about a missing template.
        loader=FunctionLoader(lambda name: _asset(f"assets/{name}")),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=html_text,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    # Keep the order of the facts about an image.
    environment.policies["json.dumps_kwargs"] = {"sort_keys": False}
    texts = list(map(_asset, scripts))
    policy = (
        "default-src 'none'; img-src 'self' file: data:; "
        f"style-src {_digest(_asset(STYLE))}; script-src {' '.join(map(_digest, texts))}; "
        "base-uri 'none'; form-action 'none'"
    )
    own = {"style": Markup(_asset(STYLE)), "scripts": list(map(Markup, texts))}  # noqa: S704 - this package's files
    values = {**values, "data": html_text(values["data"])}
    page = environment.get_template(template).render(policy=Markup(policy), **own, **values)  # noqa: S704 - made above
    # JSON can contain lone surrogates, which UTF-8 cannot encode.
    return page.encode("utf-8", "replace")


def link(path: Path, folder: Path) -> str:
    """A link to a file, relative to a page in `folder`."""
    return quote(Path(os.path.relpath(path.resolve(), folder.resolve())).as_posix())


def image_source(path: Path, folder: Path, *, embed: bool) -> str:
    """The `src` of an image: the image itself if `embed`, else a link relative to a page in `folder`."""
    if embed:
        return embedded(path)
    return link(path, folder)


def embedded(path: Path) -> str:
    """An image as a data URL; empty if the file is missing."""
    try:
        data = path.read_bytes()
    except OSError:
        return ""
    return f"data:{_MIME.get(path.suffix, 'image/png')};base64,{base64.b64encode(data).decode('ascii')}"


@dataclass(frozen=True, slots=True)
class ShownSize:
    """The size of an image on a page, in CSS pixels; `is_enlarged` if every pixel of it is shown as a square."""

    width: int
    height: int
    is_enlarged: bool


def shown_size(width: int, height: int, most: int) -> ShownSize:
    """Shrink a large image to `most` pixels; enlarge a tiny one by a whole number, so that its pixels are squares."""
    longer = max(width, height)
    if longer < _TINY:
        times = math.ceil(_TINY / longer)
        return ShownSize(width * times, height * times, is_enlarged=times > 1)
    scale = min(1.0, most / longer)
    return ShownSize(round(width * scale), round(height * scale), is_enlarged=False)


@cache
def _asset(name: str) -> str:
    return (files("recipe_runner.report.page") / name).read_text(encoding="utf-8")


def _digest(text: str) -> str:
    """The digest of a style or script, as a content security policy names it."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode('utf-8')).digest()).decode()}'"
