"""What a recipe's address names: a local path, a Hub repository or a URL.

Paths are relative to the recipe, never to the working directory.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import TypeVar

from recipe_runner.disk.home import expanded
from recipe_runner.disk.inside import FORM, is_plain_path
from recipe_runner.problems.problem import Problem, ResolutionError
from recipe_runner.problems.suggest import nearest_few
from recipe_runner.sources.connection import is_address
from recipe_runner.sources.folder import Folder
from recipe_runner.sources.hub.fetch import open_repository, require, root_folder, widened
from recipe_runner.sources.hub.repository import Repository, partly_here
from recipe_runner.sources.missing import SourceMissing
from recipe_runner.sources.url.find import find_url
from recipe_runner.weights.files.formats import WEIGHTS_SUFFIXES

T = TypeVar("T")

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)
_HUB_ID_LENGTH = 96
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
_FILE_SUFFIXES = (*WEIGHTS_SUFFIXES, ".gguf", ".onnx", ".json", ".yaml", ".yml")


@dataclass(frozen=True, slots=True, kw_only=True)
class Located:
    """Where the files of an address are: the folder `root`, and the file in it if the address names a file.

    `root` need not have all files of a Hub repository: they are chosen from `folder` and then fetched.
    """

    address: str
    root: Path
    file: str | None = None
    repository: Repository | None = None

    @property
    def commit(self) -> str | None:
        """The commit of a Hub repository."""
        if self.repository is None:
            return None
        return self.repository.commit

    @property
    def folder(self) -> Folder:
        """The folder that files are chosen from."""
        if self.repository is None:
            return self.root
        return root_folder(self.repository)

    def fetch(self, names: Sequence[str]) -> None:
        """Fetch the files of a Hub repository that are missing on this machine, and check all of them.

        Raises: as `hub.fetch.require`.
        """
        if self.repository is not None:
            require(self.repository, names)


def missing(code: str, message: str, hint: str = "") -> SourceMissing:
    """A `SourceMissing` of one problem."""
    return SourceMissing(Problem(code=code, message=message, hint=hint))


def refused(code: str, message: str, hint: str = "") -> ResolutionError:
    """A `ResolutionError` of one problem."""
    return ResolutionError(Problem(code=code, message=message, hint=hint))


def is_hub_id(address: str) -> bool:
    """Whether the address is written as a Hub repository id, `organisation/name`."""
    if not _HUB_ID.fullmatch(address) or len(address) > _HUB_ID_LENGTH or ".." in address or "--" in address:
        return False
    return not address.lower().endswith(_FILE_SUFFIXES)


def is_path(address: str) -> bool:
    """Whether the address can only be a path: absolute, or beginning with `.` or `~`, or ending as a weights file."""
    return (
        address.startswith((".", "~", "/", "\\"))
        or Path(address).is_absolute()
        or address.lower().endswith(_FILE_SUFFIXES)
    )


_PAGES = (
    (re.compile(r"https://(?:www\.)?(?:huggingface\.co|hf\.co)/([\w.-]+/[\w.-]+)/?"), "write `model: {0}`"),
    (
        re.compile(r"https://(?:www\.)?(?:huggingface\.co|hf\.co)/([\w.-]+/[\w.-]+)/tree/([^/?#]+)/?"),
        "write `model: {0}` and `revision: {1}`",
    ),
    (
        re.compile(r"https://(?:www\.)?(?:huggingface\.co|hf\.co)/([\w.-]+/[\w.-]+)/blob/([^/?#]+)/([^?#]+).*"),
        "write `model: {0}`, `revision: {1}` and `weight_name: {2}`",
    ),
    (
        re.compile(r"https://(?:www\.)?civitai\.(?:com|red|green)/models/.*"),
        "write the address of its download button, which has /api/download/models/ in it",
    ),
    (re.compile(r"https://github\.com/[\w.-]+/[\w.-]+/blob/.*"), "write the address of its button `Raw`"),
)
"""Pages that show a file, which people copy from the browser's address bar, and what to write instead."""


def check_url(address: str) -> None:
    """Refuse a URL that cannot be the address of a file. Other addresses pass.

    Raises:
        ResolutionError: E405 a scheme other than https, or a page that only shows a file.
    """
    if not _SCHEME.match(address):
        return
    if not address.startswith("https://"):
        raise refused("E405", f"{address}: only https addresses are supported", "give a path, a Hub id or an https URL")
    if not is_address(address, ("https",)):
        # A malformed address may contain a secret anywhere.
        if "@" in address or "?" in address:
            address = "https://…"
        raise refused("E405", f"{address}: the host or port of this address is not valid", "check the address")
    for pattern, instead in _PAGES:
        if match := pattern.fullmatch(address):
            message = f"{address}: this is a page about a model, not the file itself"
            raise refused("E405", message, instead.format(*match.groups()))


def locate(address: str, folder: Path, revision: str | None = None) -> Located:
    """Find the files of `address`. `folder` is the recipe's.

    A path comes first if it exists relative to the recipe; else `organisation/name` is a Hub id. `access()` says what
    may be fetched, and to which commit a lock pins the repository.

    Raises:
        SourceMissing: E401 no such path, E402 not in the Hub's cache, E403 a URL that was not downloaded.
        ResolutionError: E405 the address is not a path, a Hub id or a URL, or has a revision that means nothing; E433
            to E438 it cannot be fetched; E439 a secret in the address.
    """
    if _SCHEME.match(address):
        return _locate_url(address, revision)
    path = _path(address, folder)
    if path is not None:
        return _locate_path(address, path, revision)
    if is_path(address) or not is_hub_id(address):
        message = f"{address}: no such file or folder"
        if not expanded(address).is_absolute():
            message += " beside the recipe"
        raise missing("E401", message, _nearest(address, folder))
    try:
        repository = open_repository(address, revision)
    except ResolutionError as error:
        likely = meant_path(address, folder)
        if not likely or error.problems[0].code not in _NOT_FOUND:
            raise
        raise type(error)(*(replace(problem, hint=likely) for problem in error.problems)) from error
    return Located(address=address, root=repository.snapshot, repository=repository)


def _locate_url(address: str, revision: str | None) -> Located:
    check_url(address)
    if revision is not None:
        raise refused("E405", f"{address}: a revision ({revision}) means nothing for a URL", "remove `revision`")
    downloaded = find_url(address)
    return Located(address=address, root=downloaded.parent, file=downloaded.name)


def _locate_path(address: str, path: Path, revision: str | None) -> Located:
    if revision is not None:
        message = f"{address} is a local path; a revision ({revision}) means something only for a Hub repository"
        raise refused("E405", message, "remove `revision`")
    if path.is_dir():
        return Located(address=address, root=path)
    return Located(address=address, root=path.parent, file=path.name)


_NOT_FOUND = ("E402", "E434", "E436")
"""Problems of an address that may not be a Hub repository at all."""


def _path(address: str, folder: Path) -> Path | None:
    """The path of `address`, seen from the recipe's `folder`; None if nothing exists there."""
    try:
        path = folder / expanded(address)
        if not path.exists():
            return None
        unreadable = path.is_dir() and not os.access(path, os.R_OK | os.X_OK)
    except PermissionError as error:
        raise refused("E415", f"{address}: cannot be read: Permission denied") from error
    except (OSError, ValueError, RuntimeError) as error:
        raise refused("E405", f"{address} is not a valid path: {error}") from error
    if unreadable:
        raise refused("E415", f"{address}: the folder cannot be read: Permission denied")
    return path


_LONGEST_NAME = 255
_MOST_SHOWN = 8
_LONGEST_PATH = 2_000


def inside(root: Folder, name: str, what: str) -> str:
    """`name` as a clean POSIX path in `root`; `what` is the recipe's key in messages.

    Raises:
        ResolutionError: E405 the path leads out of `root`, or is too long.
    """
    hint = "give a path inside the source"
    parts = PurePosixPath(name).parts
    if not parts or _leads_outside(name):
        raise refused("E405", f"{what} {name!r} points outside {root.name}", hint)
    longest = max(len(part.encode(errors="replace")) for part in parts)
    if len(name) > _LONGEST_PATH or longest > _LONGEST_NAME:
        raise refused("E405", f"{what} {name[:60]!r}… is longer than a file's name can be", hint)
    return PurePosixPath(name).as_posix()


def _leads_outside(name: str) -> bool:
    """Whether a name is absolute, goes up, or has a drive or characters that no plain name has."""
    parts = PurePosixPath(name).parts
    if ".." in parts or ":" in parts[0] or name.startswith(("/", "~")):
        return True
    return "\\" in name or min(name) < " "


def check_name(name: str, address: str) -> None:
    """Refuse a file whose name cannot be written to a lock; `address` is the source it was found in.

    Raises:
        ResolutionError: E405.
    """
    if not is_plain_path(name):
        message = f"{address}: the file name {name!r} cannot be written to a lock or manifest"
        raise refused("E405", message, f"rename the file. {FORM}")


_UNSEEN = ("E401", "E404", "E416")


def chosen(located: Located, choose: Callable[[Folder], T]) -> tuple[Located, T]:
    """What `choose` picks from the files of an address, and the address with all files that it picked from.

    If something is missing and the local cache knows only a part of the repository, the whole list is fetched first.

    Raises: as `choose`; SourceMissing E402 the list of files would have to be fetched, and nothing may be.
    """
    repository = located.repository
    try:
        return located, choose(located.folder)
    except ResolutionError as error:
        if repository is None or repository.whole or not _is_lacking(error):
            raise
        wider = widened(repository)
        if wider is None:
            raise partly_here(located.address, repository.revision, error.problems[0].message) from error
    located = replace(located, repository=wider)
    return located, choose(located.folder)


def _is_lacking(error: ResolutionError) -> bool:
    """Whether an error says that a file or a variant is missing."""
    code = error.problems[0].code
    return code == "E409" or (isinstance(error, SourceMissing) and code in _UNSEEN)


def meant_path(address: str, folder: Path) -> str:
    """A hint for a Hub id that was probably meant as a path, because its first part is a folder here."""
    first = folder / address.partition("/")[0]
    if not first.is_dir():
        return ""
    return (
        "it was taken for a Hub repository, because there is no such folder beside the recipe; "
        f"{_nearest(address, folder)}"
    )


def _nearest(address: str, recipes: Path) -> str:
    """A hint with the names in the nearest folder that exists. Paths are relative to the folder `recipes`."""
    slashed = address.replace("\\", "/")
    if slashed != address and (recipes / slashed).exists():
        return f"write it with `/`: {slashed}"
    wanted = recipes / expanded(address)
    while not wanted.parent.is_dir():
        wanted = wanted.parent
    folder = wanted.parent
    try:
        names = listing(folder)
    except OSError:
        return ""
    hint = nearest_names(wanted.name, names)
    if wanted == recipes / expanded(address):
        return hint
    shown = str(folder)
    if folder.is_relative_to(recipes):
        shown = folder.relative_to(recipes).as_posix()
    return f"there is no {wanted.name} in {shown}; {hint}"


def listing(folder: Folder) -> list[str]:
    """Names in a folder, sorted; those of folders end in `/`."""
    names = []
    for entry in folder.iterdir():
        name = entry.name
        if entry.is_dir():
            name += "/"
        names.append(name)
    return sorted(names)


def folders_with(folder: Folder, file: str) -> list[str]:
    """Names of the folders in `folder` that hold a file of this name, sorted."""
    return sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and (entry / file).is_file())


def nearest_names(wanted: str, names: list[str]) -> str:
    """`did you mean …?`, or the names that there are when none is near."""
    plain = {name.removesuffix("/"): name for name in names}
    close = [plain[name] for name in nearest_few(wanted, plain, 3)]
    if close:
        return f"did you mean {' or '.join(close)}?"
    visible = [name for name in names if not name.startswith(".")]
    if not visible:
        return "that folder is empty"
    hint = f"there is: {', '.join(visible[:_MOST_SHOWN])}"
    if len(visible) > _MOST_SHOWN:
        hint += f" and {len(visible) - _MOST_SHOWN} more"
    return hint
