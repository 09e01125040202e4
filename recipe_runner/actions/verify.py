"""Check a run: its files against its manifest, its inputs against its lock, and its images by making them again."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from recipe_runner.canonical import Json
from recipe_runner.disk.home import expanded
from recipe_runner.document.document import Document, parse_document
from recipe_runner.document.write_yaml import to_yaml
from recipe_runner.graph.changed_inputs import changes, flat
from recipe_runner.images.similarity import IDENTICAL, Tolerance, Verdict, compare_files
from recipe_runner.lock.compare import pins_of
from recipe_runner.lock.fetch import fault_of, is_bundled, locate_locked, locked_address
from recipe_runner.lock.file import Lock, LockedSource, read_lock
from recipe_runner.problems.place import Place
from recipe_runner.problems.problem import Problem, RecipeRunnerError, RecordError, ResolutionError
from recipe_runner.record.documents import readdressed_recipe
from recipe_runner.record.manifest import ImageRecord, Manifest
from recipe_runner.record.names import IMAGES, LOCK, RECIPE, RESOLVED
from recipe_runner.record.verify import Checked, is_file_of
from recipe_runner.report.verify import Again
from recipe_runner.sources.access import Access, Meter, reach
from recipe_runner.sources.missing import SourceMissing


@dataclass(frozen=True, kw_only=True)
class RunOrigin:
    """The recipe and lock of a run folder.

    Addresses in the document are relative to `root`, or to the run folder if that is None. Addresses in the lock are
    relative to `lock_folder`; None if it is not known.
    """

    document: Document
    lock: Lock
    root: Path | None
    lock_folder: Path | None

    def address(self, role: str, entry: LockedSource, run: Path) -> tuple[str, Path]:
        """The present address of a locked source, and the folder that it is relative to."""
        if self.lock_folder is not None:
            return locked_address(entry), self.lock_folder
        return (_written(self.document, role) or locked_address(entry)), run


def origin_of(run: Path, root: Path | None = None) -> RunOrigin:
    """The recipe and lock of the run folder `run`. `root` is the folder of the recipe, for a run folder that was moved.

    Raises:
        RecordError: E802 the folder has no recipe or lock.
        RecipeRunnerError: they are broken.
    """
    name = RESOLVED if root is None else RECIPE
    try:
        data = (run / name).read_bytes()
    except OSError as error:
        problem = Problem(code="E802", message=f"cannot read {run / name}: {error.strerror}", place=Place(str(run)))
        raise RecordError(problem) from error
    document = parse_document(data, str((root or run) / name))
    lock = read_lock(run / LOCK)
    if lock is None:
        raise RecordError(Problem(code="E802", message=f"{run / LOCK} is missing", place=Place(str(run))))
    return RunOrigin(document=document, lock=lock, root=root, lock_folder=root or _recipe_folder(run, document, lock))


def _written(document: Document, role: str) -> str | None:
    """The address of a source in a resolved recipe; None if it is in a list or on an axis."""
    found: Any = document.tree
    for part in role.split("."):
        if not isinstance(found, Mapping):
            return None
        found = found.get(part)
    if isinstance(found, Mapping):
        found = found.get("model")
    if not isinstance(found, str):
        return None
    return found


def _recipe_folder(run: Path, document: Document, lock: Lock) -> Path | None:
    """The folder of the recipe: paths in resolved.yaml start at the run folder, paths in the lock at the recipe's."""
    for role, entry in lock.sources.items():
        now, was = _written(document, role), PurePosixPath(entry.address)
        if now is None or entry.commit is not None or "://" in now or was.is_absolute():
            continue
        parts = PurePosixPath(now).parts
        if ".." not in was.parts and parts[-len(was.parts) :] == was.parts:
            return run.joinpath(*parts[: -len(was.parts)])
    return None


def check_inputs(run: Path, origin: RunOrigin, meter: Meter) -> tuple[list[Checked], list[Problem]]:
    """Compare every file of the run's lock that is on this machine with the lock. Nothing is fetched.

    Returns the checks, and E810 for each source that is not on this machine and could not be checked.
    """
    checked: list[Checked] = []
    missing: list[Problem] = []
    with reach(Access(pins=pins_of(origin.lock), meter=meter)):
        for role, entry in origin.lock.sources.items():
            if is_bundled(entry):
                continue
            address, folder = origin.address(role, entry, run)
            try:
                located = locate_locked(address, folder, entry.commit)
                located.fetch(entry.file_names)
            except SourceMissing as error:
                missing.append(_not_here(role, error.problems[0]))
                continue
            except RecipeRunnerError as error:
                checked.append(Checked(subject=f"{role}: {entry.address}", fault=error.problems[0].message))
                continue
            for file in entry.files:
                subject = f"{role}: {entry.address}"
                if located.file is None:
                    subject += f"/{file.name}"
                checked.append(Checked(subject=subject, fault=fault_of(located.root, file)))
    return checked, missing


def _not_here(role: str, why: Problem) -> Problem:
    hint = "fetch it, or name the folder of the run's recipe with --root"
    if why.code == "E651":
        hint = why.hint
    return Problem(code="E810", message=f"{role}: {why.message}", hint=hint)


def portable_recipe(run: Path, origin: RunOrigin, overrides: Sequence[str]) -> str:
    """The run's recipe with absolute paths, so that it can be run from anywhere."""
    document = origin.document
    if origin.root:
        document = document.with_overrides(overrides)
    return to_yaml(readdressed_recipe(document.tree, partial(_whole, folder=origin.root or run)))


def _whole(address: Any, key: str, *, folder: Path) -> Any:
    if isinstance(address, list):
        return [_whole(each, key, folder=folder) for each in address]
    path = folder / expanded(address)
    if "://" in address or not path.exists():
        return address
    return str(path.resolve())


def selected(manifest: Manifest, patterns: Sequence[str]) -> list[ImageRecord]:
    """The images that match patterns such as `bear-*.png` or `images/bear-1.png`; all images without patterns.

    Raises:
        RecordError: E811 a pattern matches no image.
    """
    chosen: set[str] = set()
    for pattern in patterns or ("*",):
        wanted = pattern.removeprefix(f"{IMAGES}/")
        found = [image.path for image in manifest.images if fnmatchcase(_name(image), wanted)]
        if not found:
            message = f"the run has no image {pattern}"
            raise RecordError(Problem(code="E811", message=message, hint="images are named in its manifest.json"))
        chosen.update(found)
    return [image for image in manifest.images if image.path in chosen]


def _name(image: ImageRecord) -> str:
    """The path of an image below the folder of images."""
    return image.path.removeprefix(f"{IMAGES}/")


def make_again(
    run: Path,
    origin: RunOrigin,
    manifest: Manifest,
    images: Sequence[ImageRecord],
    out: Path,
    tolerance: Tolerance,
    *,
    device: str | None = None,
    quiet: bool = True,
) -> list[Again]:
    """Make images of a run again in a fresh process, into the empty folder `out`, and compare them.

    Raises:
        RecipeRunnerError: they cannot be made.
    """
    (out / "recipe.yaml").write_text(portable_recipe(run, origin, manifest.overrides), encoding="utf-8")
    (out / "run.lock.yaml").write_bytes((run / LOCK).read_bytes())
    request = {"images": [_name(image) for image in images], "device": device, "quiet": quiet}
    (out / "request.json").write_text(json.dumps(request), encoding="utf-8")
    code = "import sys; from recipe_runner.cli.rerun import main; main(sys.argv[1])"
    command = [sys.executable, "-c", code, str(out)]
    path = os.pathsep.join(entry for entry in sys.path if entry)
    answer = subprocess.run(command, env={**os.environ, "PYTHONPATH": path}, check=False, stdout=subprocess.DEVNULL)
    try:
        made = json.loads((out / "made.json").read_bytes())
    except (OSError, ValueError) as error:
        message = f"the process that makes the images again ended with status {answer.returncode}"
        raise RecordError(Problem(code="E812", message=message)) from error
    if made.get("problems"):
        raise ResolutionError(*map(_problem, made["problems"]))
    return [_compared(run, out, image, manifest, made, tolerance) for image in images]


def _problem(tree: Mapping[str, Any]) -> Problem:
    """A problem as the other process wrote it."""
    return Problem(**{**tree, "place": Place(*tree["place"])})


def _compared(
    run: Path, out: Path, image: ImageRecord, manifest: Manifest, made: Mapping[str, Any], tolerance: Tolerance
) -> Again:
    now = made["images"].get(_name(image))
    if now is None:
        reason = "the recipe no longer makes it"
        return Again(path=image.path, verdict="different", comparison=None, reasons=(reason,))
    if now["pixel_sha256"] == image.pixel_sha256:
        return Again(path=image.path, verdict="identical", comparison=IDENTICAL)
    reasons = tuple(_reasons(image, manifest, made, now))
    if not is_file_of(run, image):
        reasons = (*reasons, "the run's own file is missing or was changed, so the images cannot be compared")
        return Again(path=image.path, verdict="different", comparison=None, reasons=reasons)
    comparison = compare_files(run / image.path, out / now["file"], tolerance)
    verdict: Verdict = comparison.verdict
    if verdict == "identical":
        # Files of a lossy format may be equal although the pixels before encoding differ.
        verdict = "within tolerance"
    return Again(path=image.path, verdict=verdict, comparison=comparison, reasons=reasons)


def _reasons(image: ImageRecord, manifest: Manifest, made: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    """What has changed since the run: in the environment, the files and the operations."""
    environment = image.environment or manifest.environment
    yield from changes(_flat(environment.model_dump(mode="json")), _flat(made["environment"]))
    if now["node_key"] == image.node_key:
        return
    is_explained = False
    for was in manifest.sources:
        now_source = made["sources"].get(was.role)
        if now_source is not None and was.digest != now_source["digest"]:
            is_explained = True
            yield f"{was.role}: {_other(was.files, now_source['files'])}"
    if not is_explained:
        yield "the recipe or an operation's version (the inputs have another node key)"


def _flat(environment: Mapping[str, Json]) -> dict[str, Json]:
    return flat("environment", environment)


def _other(was: Iterable[Any], now: Mapping[str, str]) -> str:
    before = {file.name: file.sha256 for file in was}
    changed = [name for name in now if before.get(name) != now[name]]
    changed += [name for name in before if name not in now]
    names = ", ".join(changed[:3])
    if len(changed) > 3:  # noqa: PLR2004
        names += " …"
    return f"other contents ({names})"
