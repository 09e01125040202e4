"""Check quickly whether the lock of a recipe is current, without the network and without compiling a plan.

A lock that was found current is remembered in the user's cache folder, with the size and times of every file and folder
that was checked. As long as these, the recipe and the lock stay the same, nothing is checked again (or imported).
"""

from __future__ import annotations

import hashlib
import json
import os
import sysconfig
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from recipe_runner.canonical import parse_json
from recipe_runner.disk.atomic import make_folder, write_file
from recipe_runner.problems.problem import Problem, RecordError, ResolutionError
from recipe_runner.version import __version__
from recipe_runner.weights.files.digests import RACY_SECONDS, cache_folder

if TYPE_CHECKING:
    from recipe_runner.plan.resolved_base import AnySource
    from recipe_runner.sources.access import Meter

_LOCATIONS = ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME", "HOME", "INSIGHTFACE_HOME")
"""Environment variables that decide where sources are looked for."""


def stale_entries(path: Path, meter: Meter) -> Sequence[Problem]:
    """The errors and warnings about a recipe's lock; empty when the lock is current.

    Errors are E431 for a missing lock, and E430 and E432 for each entry that differs from the recipe or its files.

    Raises:
        RecipeRunnerError: it is not a recipe, or one of its sources is broken, refused or does not fit.
    """
    question = _question(path)
    if question is not None and _is_remembered(path, question):
        return ()
    began = time.time_ns()
    problems, sources = _judged(path, meter)
    if question is not None and not problems and question == _question(path):
        _remember(path, question, sources, began)
    return problems


def _judged(path: Path, meter: Meter) -> tuple[Sequence[Problem], Iterable[AnySource]]:
    from recipe_runner.lock.compare import check_against_lock, no_lock, pins_of  # noqa: PLC0415
    from recipe_runner.lock.file import lock_beside, read_lock  # noqa: PLC0415
    from recipe_runner.plan.resolve import resolve  # noqa: PLC0415
    from recipe_runner.recipe.load import load_document  # noqa: PLC0415 - these import pydantic
    from recipe_runner.recipe.matrix import variants  # noqa: PLC0415
    from recipe_runner.sources.access import Access, reach  # noqa: PLC0415

    document = load_document(path).document
    lock = read_lock(lock_beside(path))
    if lock is None:
        return [no_lock(document)], ()
    with reach(Access(pins=pins_of(lock), meter=meter)):
        sources = resolve(document, variants(document)).sources()
    try:
        return check_against_lock(lock, sources, document, "locked"), sources.values()
    except ResolutionError as error:
        return error.problems, ()


def _question(path: Path) -> str | None:
    """A digest of everything that the answer depends on, except the sources' files; None when it cannot be read."""
    try:
        texts = [path.read_bytes(), path.with_name(f"{path.stem}.lock.yaml").read_bytes()]
        # Libraries come and go as entries of this folder.
        installed = os.stat(sysconfig.get_path("purelib")).st_mtime_ns  # noqa: PTH116
    except OSError:
        return None
    digests = [hashlib.sha256(text).hexdigest() for text in texts]
    locations = [os.environ.get(name) for name in _LOCATIONS]
    said = [__version__, str(path.absolute()), *digests, installed, *locations]
    return hashlib.sha256(json.dumps(said).encode()).hexdigest()


def _record(path: Path) -> Path:
    name = hashlib.sha256(os.fsencode(path.absolute())).hexdigest()
    return cache_folder() / "checks" / f"{name[:40]}.json"


def _is_remembered(path: Path, question: str) -> bool:
    try:
        found = parse_json(_record(path).read_bytes())
        if found["question"] != question:
            return False
        return all(_looks(place) == looked for place, looked in found["looks"].items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def _remember(path: Path, question: str, sources: Iterable[AnySource], began: int) -> None:
    """Remember that the lock is current, unless a source is not on this machine or a file has just changed."""
    from recipe_runner.sources.source import Source  # noqa: PLC0415

    places: dict[str, None] = {}
    for source in sources:
        if not isinstance(source, Source):
            return
        for file in source.files:
            lies = source.path(file.name)
            # A file added or removed beside this one may be used instead: it changes its folder's time.
            folders = [folder for folder in lies.parents if folder.is_relative_to(source.root)]
            places |= dict.fromkeys(map(str, (lies, *folders)))
    looks = {place: _looks(place) for place in places}
    newest = began - RACY_SECONDS * 1_000_000_000
    for look in looks.values():
        if look is None or max(look[-2:]) > newest:
            return
    record = _record(path)
    # A cache that cannot be written is not a failure.
    with suppress(RecordError):
        make_folder(record.parent)
        write_file(record, json.dumps({"question": question, "looks": looks}).encode(), durable=False)


def _looks(place: str) -> list[int] | None:
    """Identity, size and the two times of a file or folder, times last; None when it cannot be read."""
    try:
        status = os.stat(place)  # noqa: PTH116 - a thousand of them
    except OSError:
        return None
    return [status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns]
