"""Pages that open from a disk: one file with its styles and scripts in it, which fetches nothing from anywhere."""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Sequence
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
_MIME = {".png": "image/png", ".webp": "image/webp", ".jpg": "image/jpeg"}


def render(template: str, scripts: Sequence[str], **values: Any) -> bytes:
    """The page as UTF-8: `template` filled in, every value escaped, with the named scripts.

    The page holds words of strangers: its policy runs no script but its own, known by digest, and fetches nothing.
    """
    environment = Environment(
        # A file that cannot be read is an error of the system's, and no template that is missing.
        loader=FunctionLoader(lambda name: _asset(f"assets/{name}")),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=html_text,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    # The order of an image's facts is part of what they say.
    environment.policies["json.dumps_kwargs"] = {"sort_keys": False}
    texts = [_asset(script) for script in scripts]
    policy = (
        "default-src 'none'; img-src 'self' file: data:; "
        f"style-src {_digest(_asset(STYLE))}; script-src {' '.join(map(_digest, texts))}; "
        "base-uri 'none'; form-action 'none'"
    )
    own = {"style": Markup(_asset(STYLE)), "scripts": [Markup(text) for text in texts]}  # noqa: S704 - this package's files
    values = {**values, "data": html_text(values["data"])}
    page = environment.get_template(template).render(policy=Markup(policy), **own, **values)  # noqa: S704 - made above
    # A lone surrogate, which JSON may hold, has no form in UTF-8.
    return page.encode("utf-8", "replace")


def link(path: Path, folder: Path) -> str:
    """The address of a file as a page in `folder` writes it."""
    return quote(Path(os.path.relpath(path.resolve(), folder.resolve())).as_posix())


def embedded(path: Path) -> str:
    """A picture as an address that carries it; empty where it is not there."""
    try:
        data = path.read_bytes()
    except OSError:
        return ""
    return f"data:{_MIME.get(path.suffix, 'image/png')};base64,{base64.b64encode(data).decode('ascii')}"


@cache
def _asset(name: str) -> str:
    return (files("recipe_runner.report.page") / name).read_text(encoding="utf-8")


def _digest(text: str) -> str:
    """A source of a content security policy: the digest of an element's text."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode('utf-8')).digest()).decode()}'"
