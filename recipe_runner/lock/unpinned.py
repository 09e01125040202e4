"""Say which sources of a recipe can change under it (branches and URLs that no lock pins) or are none (pages).

No network, no pydantic.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from recipe_runner.document.document import Document, parse_document
from recipe_runner.problems.credentials import credential_in
from recipe_runner.problems.problem import RecipeRunnerError
from recipe_runner.recipe.rules.secrets import in_values
from recipe_runner.recipe.schema.check import check_lock
from recipe_runner.sources.address import check_url, is_hub_id, is_path, meant_path
from recipe_runner.sources.hub.cache import COMMIT

if TYPE_CHECKING:
    from recipe_runner.canonical import Json
    from recipe_runner.problems.problem import Problem


def movable_sources(document: Document) -> tuple[Problem, ...]:
    """W430 for each branch of a Hub repository, and each URL, that `<stem>.lock.yaml` does not pin.

    E405 for a URL that can be told to be none of a file. A lock that cannot be read, has the wrong shape or holds a
    secret is told in its stead.
    """
    recipe = Path(document.source)
    path = recipe.with_name(f"{recipe.stem}.lock.yaml")
    pinned: set[tuple[Json, Json]] = set()
    if path.is_file():
        try:
            lock = parse_document(path.read_bytes(), str(path))
        except RecipeRunnerError as error:
            return error.problems
        except OSError:
            return ()
        if problems := check_lock(lock) or tuple(finding.placed(lock) for finding in in_values(lock.tree)):
            return problems
        sources = _mapping(lock.tree["sources"])
        pinned = {(entry["address"], entry.get("revision")) for entry in map(_mapping, sources.values())}
    found: dict[tuple[str, str | None], Problem] = {}
    for place, address, revision in _addresses(document):
        try:
            check_url(address)
        except RecipeRunnerError as error:
            said = error.problems[0]
            found.setdefault((address, revision), document.problem(said.code, said.message, place, said.hint))
            continue
        if credential_in(address):
            # To be taken out, not to be pinned.
            continue
        message = _movable(address, revision, recipe.parent)
        if message and (address, revision) not in pinned:
            hint = meant_path(address, recipe.parent) or f"`recipe-runner lock {recipe}` pins it"
            problem = document.problem("W430", message, place, hint, severity="warning")
            found.setdefault((address, revision), problem)
    return tuple(found.values())


def _movable(address: str, revision: str | None, folder: Path) -> str | None:
    if address.startswith("https://"):
        return "what this URL gives can change, and no lock pins it"
    if not is_hub_id(address) or is_path(address) or (revision is not None and COMMIT.fullmatch(revision)):
        return None
    try:
        if (folder / address).exists():
            return None
    except (OSError, ValueError):
        return None
    return f"{revision or 'main'} of {address} can move, and no lock pins it"


def _addresses(document: Document) -> Iterator[tuple[tuple[str | int, ...], str, str | None]]:
    """Every address that may be fetched: its place, itself and its revision."""
    sections: list[tuple[tuple[str | int, ...], Json]] = [(("base",), document.tree.get("base"))]
    base = _mapping(document.tree.get("base"))
    sections += [(("base", "components", name), part) for name, part in _mapping(base.get("components")).items()]
    for name, adapter in _mapping(document.tree.get("adapters")).items():
        sections.append((("adapters", name), adapter))
        sections.append((("adapters", name, "image_encoder"), _mapping(adapter).get("image_encoder")))
    for path, section in sections:
        entry = _mapping(section)
        revision = entry.get("revision")
        for key in ("model", "config", "image", "image_embeds", "mask"):
            address = entry.get(key)
            if not isinstance(address, str) or not (revision is None or isinstance(revision, str)):
                continue
            # A picture is never looked for on the Hub.
            if key in ("model", "config") or "://" in address:
                yield (*path, key), address, revision if key == "model" else None
    for axis, values in _mapping(document.tree.get("matrix")).items():
        if axis.rpartition(".")[2] == "model" and isinstance(values, list):
            for index, value in enumerate(values):
                if isinstance(value, str):
                    yield ("matrix", axis, index), value, None


def _mapping(value: Json) -> Mapping[str, Json]:
    return value if isinstance(value, Mapping) else {}
