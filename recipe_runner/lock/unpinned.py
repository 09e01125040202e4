"""Find the sources of a recipe that can change (branches and URLs that no lock pins) or that are web pages.

It uses neither the network nor pydantic.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from recipe_runner.canonical import mapping
from recipe_runner.document.document import Document, parse_document
from recipe_runner.problems.credentials import credential_in
from recipe_runner.problems.problem import RecipeRunnerError, ResolutionError
from recipe_runner.recipe.rules.secrets import in_values
from recipe_runner.recipe.schema.check import check_lock
from recipe_runner.sources.address import check_url, is_hub_id, is_path, meant_path
from recipe_runner.sources.hub.cache import COMMIT

if TYPE_CHECKING:
    from recipe_runner.canonical import Json
    from recipe_runner.problems.problem import Problem


def movable_sources(document: Document) -> tuple[Problem, ...]:
    """W430 for each branch of a Hub repository, and each URL, that `<stem>.lock.yaml` does not pin.

    E405 for a URL of a web page. If the lock cannot be read, has the wrong shape or holds a secret, its problems are
    returned instead.
    """
    recipe = Path(document.source)
    path = recipe.with_name(f"{recipe.stem}.lock.yaml")
    pinned: set[tuple[Json, Json]] = set()
    if path.is_file():
        try:
            pinned = _pinned(path)
        except RecipeRunnerError as error:
            return error.problems
        except OSError:
            return ()
    found: dict[tuple[str, str | None], Problem] = {}
    for place, address, revision in _addresses(document):
        try:
            check_url(address)
        except RecipeRunnerError as error:
            said = error.problems[0]
            found.setdefault((address, revision), document.problem(said.code, said.message, place, said.hint))
            continue
        if credential_in(address):
            # It must be removed, not pinned.
            continue
        message = _movable(address, revision, recipe.parent)
        if message and (address, revision) not in pinned:
            hint = meant_path(address, recipe.parent) or f"`recipe-runner lock {recipe}` pins it"
            problem = document.problem("W430", message, place, hint, severity="warning")
            found.setdefault((address, revision), problem)
    return tuple(found.values())


def _pinned(path: Path) -> set[tuple[Json, Json]]:
    """Address and revision of each entry of the lock in the file `path`.

    Raises:
        OSError: it cannot be read.
        RecipeRunnerError: it is not a lock, or holds a secret.
    """
    lock = parse_document(path.read_bytes(), str(path))
    problems = check_lock(lock) or tuple(finding.placed(lock) for finding in in_values(lock.tree))
    if problems:
        raise ResolutionError(*problems)
    pinned = set()
    for source in mapping(lock.tree["sources"]).values():
        entry = mapping(source)
        pinned.add((entry["address"], entry.get("revision")))
    return pinned


def _movable(address: str, revision: str | None, folder: Path) -> str | None:
    if address.startswith("https://"):
        return "the file at this URL can change, and no lock pins it"
    if not is_hub_id(address) or is_path(address) or (revision is not None and COMMIT.fullmatch(revision)):
        return None
    try:
        if (folder / address).exists():
            return None
    except (OSError, ValueError):
        return None
    return f"{revision or 'main'} of {address} can move, and no lock pins it"


def _addresses(document: Document) -> Iterator[tuple[tuple[str | int, ...], str, str | None]]:
    """Every address that may be fetched, with its path in the recipe and its revision."""
    yield from _written_addresses(document)
    for axis, values in mapping(document.tree.get("matrix")).items():
        if axis.rpartition(".")[2] == "model" and isinstance(values, list):
            for index, value in enumerate(values):
                if isinstance(value, str):
                    yield ("matrix", axis, index), value, None


def _written_addresses(document: Document) -> Iterator[tuple[tuple[str | int, ...], str, str | None]]:
    """As `_addresses`, without the values of axes."""
    for path, section in _sections(document):
        entry = mapping(section)
        revision = entry.get("revision")
        for key in ("model", "config", "image", "image_embeds", "mask"):
            address = entry.get(key)
            if not isinstance(address, str) or not (revision is None or isinstance(revision, str)):
                continue
            if key == "model":
                yield (*path, key), address, revision
            elif key == "config" or "://" in address:
                # An image is never looked for on the Hub.
                yield (*path, key), address, None


def _sections(document: Document) -> Iterator[tuple[tuple[str | int, ...], Json]]:
    """Every section that may have an address, with its path in the recipe."""
    base = mapping(document.tree.get("base"))
    yield ("base",), base
    for name, part in mapping(base.get("components")).items():
        yield ("base", "components", name), part
    for name, adapter in mapping(document.tree.get("adapters")).items():
        yield ("adapters", name), adapter
        yield ("adapters", name, "image_encoder"), mapping(adapter).get("image_encoder")
