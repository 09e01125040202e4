"""What a recipe's address names: a local path, a Hub repository or a URL.

Never by what happens to lie in the working directory: paths are relative to the recipe.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path, PurePosixPath
from typing import TypeVar

from recipe_runner.disk.home import expanded
from recipe_runner.disk.inside import FORM, is_plain_path
from recipe_runner.problems.problem import Problem, ResolutionError
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
    """Where an address leads: the folder `root`, and the file in it when the address names a file.

    The files of a Hub repository need not all be in `root`: they are chosen from `folder` and then fetched.
    """

    address: str
    root: Path
    file: str | None = None
    repository: Repository | None = None

    @property
    def commit(self) -> str | None:
        """The commit of a Hub repository."""
        return None if self.repository is None else self.repository.commit

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
    """Refuse a URL that can be told to be none of a file. Anything else is let pass.

    Raises:
        ResolutionError: E405 another scheme than https, or a page that only shows a file.
    """
    if not _SCHEME.match(address):
        return
    if not address.startswith("https://"):
        raise refused("E405", f"{address}: only https addresses are known", "give a path, a Hub id or an https URL")
    if not is_address(address, ("https",)):
        # What cannot be read may hold a secret anywhere.
        shown = "https://…" if set("@?") & set(address) else address
        raise refused("E405", f"{shown}: the host or the port of this address cannot be", "check the address")
    for pattern, instead in _PAGES:
        if match := pattern.fullmatch(address):
            message = f"{address}: this is a page about a model, not the file itself"
            raise refused("E405", message, instead.format(*match.groups()))


def locate(address: str, folder: Path, revision: str | None = None) -> Located:
    """Where the files of `address` lie. `folder` is the recipe's.

    A path wins when it exists relative to the recipe; else `organisation/name` is a Hub id. What may be fetched, and to
    which commit a lock pins the repository, `access()` says.

    Raises:
        SourceMissing: E401 no such path, E402 not in the Hub's cache, E403 a URL that was not downloaded.
        ResolutionError: E405 an address that is none of the three, or a revision where it means nothing; E433 to E438
            it cannot be fetched; E439 a secret in the address.
    """
    if _SCHEME.match(address):
        check_url(address)
        if revision is not None:
            raise refused("E405", f"{address}: a revision ({revision}) means nothing for a URL", "remove `revision`")
        downloaded = find_url(address)
        return Located(address=address, root=downloaded.parent, file=downloaded.name)
    path = _path(address, folder)
    if path is not None or is_path(address) or not is_hub_id(address):
        if path is None:
            beside = "" if expanded(address).is_absolute() else " beside the recipe"
            raise missing("E401", f"{address}: there is no such file or folder{beside}", _nearest(address, folder))
        if revision is not None:
            message = f"{address} is a local path; a revision ({revision}) means something only for a Hub repository"
            raise refused("E405", message, "remove `revision`")
        if path.is_dir():
            return Located(address=address, root=path)
        return Located(address=address, root=path.parent, file=path.name)
    try:
        repository = open_repository(address, revision)
    except ResolutionError as error:
        likely = meant_path(address, folder)
        if not likely or error.problems[0].code not in _NOT_FOUND:
            raise
        raise type(error)(*(replace(problem, hint=likely) for problem in error.problems)) from error
    return Located(address=address, root=repository.snapshot, repository=repository)


_NOT_FOUND = ("E402", "E434", "E436")
"""Problems of a repository that nobody has seen, and that may be none."""


def _path(address: str, folder: Path) -> Path | None:
    """The path that `address` is, seen from the recipe's `folder`, where there is something."""
    try:
        path = folder / expanded(address)
        if not path.exists():
            return None
        unreadable = path.is_dir() and not os.access(path, os.R_OK | os.X_OK)
    except PermissionError as error:
        raise refused("E415", f"{address}: it cannot be read: Permission denied") from error
    except (OSError, ValueError, RuntimeError) as error:
        raise refused("E405", f"{address}: this cannot be a path ({error})") from error
    if unreadable:
        raise refused("E415", f"{address}: the folder cannot be read: Permission denied")
    return path


_LONGEST_NAME = 255
_LONGEST_PATH = 2_000


def inside(root: Folder, name: str, what: str) -> str:
    """`name` as a clean POSIX path inside `root`; E405 when it points out of it.

    `what` names the recipe's key for the message.
    """
    parts = PurePosixPath(name).parts
    foreign = not parts or ".." in parts or name.startswith(("/", "~")) or "\\" in name or ":" in parts[0]
    if foreign or any(ord(character) < ord(" ") for character in name):
        raise refused("E405", f"{what} {name!r} points outside {root.name}", "give a path inside the source")
    if len(name) > _LONGEST_PATH or any(len(part.encode(errors="replace")) > _LONGEST_NAME for part in parts):
        raise refused(
            "E405", f"{what} {name[:60]!r}… is longer than a file's name can be", "give a path inside the source"
        )
    return PurePosixPath(name).as_posix()


def check_name(name: str, address: str) -> None:
    """Refuse a file whose name no lock can hold; `address` is what it was found at.

    Raises:
        ResolutionError: E405.
    """
    if not is_plain_path(name):
        message = f"{address}: a file in it is called {name!r}, which no lock or manifest can hold"
        raise refused("E405", message, f"rename the file. {FORM}")


_UNSEEN = ("E401", "E404", "E409", "E416")


def chosen(located: Located, choose: Callable[[Folder], T]) -> tuple[Located, T]:
    """`choose` from the files of an address, and the address with all files that were chosen from.

    Raises: as `choose`; SourceMissing E402 where it lacks something and the local cache may know only a part of what
    the repository has.
    """
    repository = located.repository
    try:
        return located, choose(located.folder)
    except ResolutionError as error:
        problem = error.problems[0]
        lacks = isinstance(error, SourceMissing) or problem.code == "E409"
        if repository is None or repository.whole or problem.code not in _UNSEEN or not lacks:
            raise
        wider = widened(repository)
        if wider is None:
            raise partly_here(located.address, repository.revision, problem.message) from error
    located = replace(located, repository=wider)
    return located, choose(located.folder)


def meant_path(address: str, folder: Path) -> str:
    """A hint for what is written as a Hub id where it was probably a path: its first part is a folder here."""
    first = folder / address.partition("/")[0]
    if not first.is_dir():
        return ""
    taken = "it was taken for a Hub repository, as there is no such folder beside the recipe"
    return f"{taken}; {_nearest(address, folder)}"


def _nearest(address: str, recipes: Path) -> str:
    """A hint with what the nearest existing folder does hold. `recipes` is the folder that paths are relative to."""
    slashed = address.replace("\\", "/")
    if slashed != address and (recipes / slashed).exists():
        return f"write it with `/`: {slashed}"
    path = recipes / expanded(address)
    folder = path.parent
    wanted = path.name
    while not folder.is_dir():
        wanted = folder.name
        folder = folder.parent
    try:
        names = listing(folder)
    except OSError:
        return ""
    shown = folder.relative_to(recipes).as_posix() if folder.is_relative_to(recipes) else str(folder)
    where = f"there is no {wanted} in {shown}; " if folder != path.parent else ""
    return where + nearest_names(wanted, names)


def listing(folder: Folder) -> list[str]:
    """Names in a folder, sorted; those of folders end in `/`."""
    return sorted(f"{entry.name}/" if entry.is_dir() else entry.name for entry in folder.iterdir())


def nearest_names(wanted: str, names: list[str]) -> str:
    """`did you mean …?`, or what there is when nothing is near."""
    plain = {name.removesuffix("/"): name for name in names}
    close = [plain[name] for name in get_close_matches(wanted, list(plain), n=3, cutoff=0.6)]
    if close:
        return f"did you mean {' or '.join(close)}?"
    shown = [name for name in names if not name.startswith(".")]
    if not shown:
        return "that folder is empty"
    return f"there is: {', '.join(shown[:8])}" + (f" and {len(shown) - 8} more" if len(shown) > 8 else "")  # noqa: PLR2004
