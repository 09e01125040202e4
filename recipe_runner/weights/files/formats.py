"""Which container a weights file is, told from its first bytes: a suffix is a claim, not a fact."""

from __future__ import annotations

import re
import stat
from pathlib import Path
from typing import Literal

from recipe_runner.problems.problem import Problem, WeightsError

Format = Literal[
    "safetensors", "torch_zip", "pickle", "numpy", "npz", "zip", "gguf", "hdf5", "archive", "image",
    "lfs_pointer", "annex_pointer", "html", "text", "empty", "stub", "unknown",
]  # fmt: skip

PICKLED: tuple[Format, ...] = ("torch_zip", "pickle")

WEIGHTS_SUFFIXES = (".safetensors", ".bin", ".pt", ".pth", ".ckpt")
"""Suffixes of files that may be chosen as weights; what such a file is, its bytes decide."""

_LFS = b"version https://git-lfs.github.com/spec/"
_MAGIC: tuple[tuple[bytes, Format], ...] = (
    (b"\x93NUMPY", "numpy"),
    (b"GGUF", "gguf"),
    (b"\x89HDF\r\n\x1a\n", "hdf5"),
    (b"\x1f\x8b", "archive"),
    (b"7z\xbc\xaf\x27\x1c", "archive"),
    (b"Rar!", "archive"),
    (b"\x89PNG", "image"),
    (b"\xff\xd8\xff", "image"),
    (_LFS, "lfs_pointer"),
    (b"/annex/objects/", "annex_pointer"),
    (b".git/annex/objects/", "annex_pointer"),
)
_PROTO = 0x80
_PROTOCOLS = (b"\x02", b"\x03", b"\x04", b"\x05")
_GLOBAL = re.compile(rb"\(?c[A-Za-z_][\w.]*\r?\n[A-Za-z_]\w*\r?\n")
_HEAD = 1024
_SMALLEST_SAFETENSORS = 8
_LONGEST_HEADER = 100_000_000
"""Bytes that safetensors itself reads at the most."""
_SPACE = 0x20
_TEXT_CONTROLS = frozenset(b"\t\n\r\f\x1b")

DESCRIPTIONS: dict[Format, str] = {
    "safetensors": "a safetensors file",
    "torch_zip": "a pickled torch file (zip)",
    "pickle": "a pickle",
    "numpy": "a numpy array file",
    "npz": "a zip of numpy arrays",
    "zip": "a zip archive that is not torch's",
    "gguf": "a GGUF file",
    "hdf5": "an HDF5 (Keras) file",
    "archive": "a compressed archive",
    "image": "a picture",
    "lfs_pointer": "a Git LFS pointer: the text that stands for a file that was not fetched",
    "annex_pointer": "a git-annex pointer: the text that stands for a file that was not fetched",
    "html": "a web page",
    "text": "a text file",
    "empty": "empty",
    "stub": "a stub too short to be a weights file",
    "unknown": "of no format known here",
}

_REMEDIES: dict[Format, str] = {
    "lfs_pointer": "run `git lfs pull` in its repository",
    "annex_pointer": "run `git annex get` on it",
    "html": "the download was answered with a web page (a login or an error); download the file again",
    "empty": "download or copy it again",
    "stub": "download or copy it again",
    "gguf": "use the safetensors file of the same model",
    "hdf5": "use the safetensors file of the same model",
    "archive": "unpack it and name the file inside",
    "image": "A1111 also hides embeddings in pictures: save it there as .safetensors, and name that file",
}


def weights_error(code: str, path: Path, message: str, hint: str = "") -> WeightsError:
    """A `WeightsError` about the file at `path`."""
    return WeightsError(Problem(code=code, message=f"{path}: {message}", hint=hint))


def cannot_read(path: Path, error: OSError) -> WeightsError:
    """What the operating system's refusal to open or read `path` means to a user."""
    if isinstance(error, FileNotFoundError):
        return weights_error("E401", path, "there is no such file")
    return weights_error("E415", path, f"the file cannot be read: {error.strerror or error}")


def regular_size(path: Path) -> int:
    """Size in bytes of the regular file at `path`; pipes, devices and folders are refused before they are opened."""
    try:
        status = path.stat()
    except OSError as error:
        raise cannot_read(path, error) from error
    if stat.S_ISDIR(status.st_mode):
        raise weights_error("E415", path, "a weights file is wanted, and this is a folder")
    if not stat.S_ISREG(status.st_mode):
        raise weights_error("E415", path, "this is not a regular file")
    return status.st_size


def identify_format(path: Path) -> Format:
    """The container of the file at `path`, from its first bytes (and, of a zip, its directory).

    Raises:
        WeightsError: E401 or E415 when the file cannot be read at all. Any content gets an answer.
    """
    size = regular_size(path)
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD)
    except OSError as error:
        raise cannot_read(path, error) from error
    if head.startswith(b"PK\x03\x04"):
        return _zip_format(path)
    return format_of(head, size)


def format_of(head: bytes, size: int) -> Format:
    """The container of a file of `size` bytes that begins with `head` (1024 bytes, or all of it); never a zip."""
    if not head:
        return "empty"
    if _is_safetensors(head):
        return "safetensors"
    for magic, name in _MAGIC:
        if head.startswith(magic):
            return name
    if _is_pickle(head):
        return "pickle"
    if size <= _SMALLEST_SAFETENSORS:
        return "stub"
    return "safetensors" if head[8:9] == b"{" else _foreign(head, size)


def _foreign(head: bytes, size: int) -> Format:
    if b".git/annex/objects/" in head[:256] and size < _HEAD:
        return "annex_pointer"
    if head[257:262] == b"ustar":
        return "archive"
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<!doctype html", b"<html", b"<?xml", b"<head")):
        return "html"
    return "text" if all(byte >= _SPACE or byte in _TEXT_CONTROLS for byte in head) else "unknown"


def _is_safetensors(head: bytes) -> bool:
    # The length of its header may begin with the bytes of another format's mark: 0x480 is also that of a pickle.
    return head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= _LONGEST_HEADER


def _is_pickle(head: bytes) -> bool:
    # Protocols 2 to 5 have a mark. Older ones have none; those that can do harm begin with a global: "cos\nsystem\n".
    return (head[0] == _PROTO and head[1:2] in _PROTOCOLS) or _GLOBAL.match(head) is not None


def _zip_format(path: Path) -> Format:
    # Imported where there is a zip: most weights files are none, and it takes as long to import as a header to read.
    import zipfile  # noqa: PLC0415

    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        # A torch file cut short has lost its directory; the name of its first entry is still there.
        return "torch_zip" if path.suffix.lower() != ".zip" else "zip"
    if any(name == "data.pkl" or name.endswith("/data.pkl") for name in names):
        return "torch_zip"
    return "npz" if names and all(name.endswith(".npy") for name in names) else "zip"


def require_weights(path: Path, *, allow_pickle: bool = False) -> Format:
    """The format of a file that is to be read as weights: `safetensors`, or a pickle where pickles are allowed.

    Raises:
        WeightsError: E401/E415 unreadable, E406 a pickle that is not allowed, E411 a pointer or web page, E412 anything
            else that is not weights.
    """
    found = identify_format(path)
    if found == "safetensors":
        return found
    if found in PICKLED:
        if allow_pickle:
            return found
        if path.suffix.lower() == ".safetensors":
            message = f"the name says safetensors, but the file is {DESCRIPTIONS[found]}, which can run code"
            hint = "use a file that is safetensors; if you trust this one, rename it and set runtime.allow_pickle"
        else:
            message = f"this is {DESCRIPTIONS[found]}, which can run code when it is read"
            hint = "use the model's .safetensors file, or set `runtime: {allow_pickle: true}` if you trust it"
        raise weights_error("E406", path, message, hint)
    raise not_weights(path, found)


def _again(path: Path) -> str:
    """What to do with a file that is not what its name says."""
    return "its name says otherwise: download or copy it again" if path.suffix.lower() in WEIGHTS_SUFFIXES else ""


def not_weights(path: Path, found: Format) -> WeightsError:
    """What is to be said of a file of format `found` where weights are wanted: E411 for what stands for a file."""
    code = "E411" if found in ("lfs_pointer", "annex_pointer", "html") else "E412"
    remedy = _REMEDIES.get(found) or _again(path)
    return weights_error(code, path, f"the file is {DESCRIPTIONS[found]}, not weights", remedy)
