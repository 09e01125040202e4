"""Identify the container of a weights file from its first bytes; its suffix proves nothing."""

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
"""Suffixes of files that can be chosen as weights; the bytes of the file decide its format."""

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
"""Bytes of the longest header that the safetensors library reads."""
_SPACE = 0x20
_TEXT_CONTROLS = frozenset(b"\t\n\r\f\x1b")

DESCRIPTIONS: dict[Format, str] = {
    "safetensors": "a safetensors file",
    "torch_zip": "a pickled torch file (zip)",
    "pickle": "a pickle",
    "numpy": "a numpy array file",
    "npz": "a zip of numpy arrays",
    "zip": "a zip archive without torch data",
    "gguf": "a GGUF file",
    "hdf5": "an HDF5 (Keras) file",
    "archive": "a compressed archive",
    "image": "an image",
    "lfs_pointer": "a Git LFS pointer",
    "annex_pointer": "a git-annex pointer",
    "html": "a web page",
    "text": "a text file",
    "empty": "empty",
    "stub": "too short to hold a tensor",
    "unknown": "of an unknown format",
}

DOWNLOAD_AGAIN = "download or copy the file again"

_REMEDIES: dict[Format, str] = {
    "lfs_pointer": "run `git lfs pull` in its repository to fetch the weights",
    "annex_pointer": "run `git annex get` on it to fetch the weights",
    "html": "the server sent a web page (a login or an error) instead of the file; download the file again",
    "empty": DOWNLOAD_AGAIN,
    "stub": DOWNLOAD_AGAIN,
    "gguf": "use the safetensors file of the same model",
    "hdf5": "use the safetensors file of the same model",
    "archive": "unpack it and use the file inside",
    "image": "A1111 can store an embedding in an image: save it in A1111 as .safetensors and use that file",
}


def weights_error(code: str, path: Path, message: str, hint: str = "") -> WeightsError:
    """A `WeightsError` about the file at `path`."""
    return WeightsError(Problem(code=code, message=f"{path}: {message}", hint=hint))


def cannot_read(path: Path, error: OSError) -> WeightsError:
    """The error for a file that cannot be opened or read: E401 when it is missing, else E415."""
    if isinstance(error, FileNotFoundError):
        return weights_error("E401", path, "file not found")
    return weights_error("E415", path, f"the file cannot be read: {error.strerror or error}")


def regular_size(path: Path) -> int:
    """Size in bytes of the regular file at `path`. The file is not opened, so a pipe cannot block.

    Raises:
        WeightsError: E401 the file is missing, E415 it is a folder, a pipe or a device.
    """
    try:
        status = path.stat()
    except OSError as error:
        raise cannot_read(path, error) from error
    if stat.S_ISDIR(status.st_mode):
        raise weights_error("E415", path, "this is a folder, not a weights file")
    if not stat.S_ISREG(status.st_mode):
        raise weights_error("E415", path, "this is not a regular file")
    return status.st_size


def identify_format(path: Path) -> Format:
    """The container of the file at `path`, from its first bytes (and, of a zip, its directory).

    Raises:
        WeightsError: E401 or E415 the file cannot be read. Every content has a format, possibly `unknown`.
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
    """The container of a file that is not a zip: `head` is its first 1024 bytes (or all), `size` its size in bytes."""
    if not head:
        return "empty"
    if _is_safetensors(head):
        return "safetensors"
    for magic, name in _MAGIC:
        if head.startswith(magic):
            return name
    if _is_pickle(head):
        return "pickle"
    return _without_magic(head, size)


def _without_magic(head: bytes, size: int) -> Format:
    if size <= _SMALLEST_SAFETENSORS:
        return "stub"
    if head[8:9] == b"{":
        return "safetensors"
    if b".git/annex/objects/" in head[:256] and size < _HEAD:
        return "annex_pointer"
    if head[257:262] == b"ustar":
        return "archive"
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<!doctype html", b"<html", b"<?xml", b"<head")):
        return "html"
    is_text = all(byte >= _SPACE or byte in _TEXT_CONTROLS for byte in head)
    return "text" if is_text else "unknown"


def _is_safetensors(head: bytes) -> bool:
    # Asked first: the length of a header can begin with the magic bytes of another format, such as 0x80 of a pickle.
    return head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= _LONGEST_HEADER


def _is_pickle(head: bytes) -> bool:
    # Protocols 2 to 5 have a magic byte. Older ones have none; harmful ones begin with a global: "cos\nsystem\n".
    if head[0] == _PROTO and head[1:2] in _PROTOCOLS:
        return True
    return _GLOBAL.match(head) is not None


def _zip_format(path: Path) -> Format:
    # Imported only for a zip: the import takes as long as reading a header.
    import zipfile  # noqa: PLC0415

    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        # A torch file that is cut short has lost its directory.
        return "zip" if path.suffix.lower() == ".zip" else "torch_zip"
    if any(name == "data.pkl" or name.endswith("/data.pkl") for name in names):
        return "torch_zip"
    if names and all(name.endswith(".npy") for name in names):
        return "npz"
    return "zip"


def require_weights(path: Path, *, allow_pickle: bool = False) -> Format:
    """The format of a weights file: `safetensors`, or a pickle where pickles are allowed.

    Raises:
        WeightsError: E401 or E415 the file cannot be read, E406 it is a pickle and pickles are not allowed, E411 it is
            a pointer or a web page, E412 it is another kind of file.
    """
    found = identify_format(path)
    if found == "safetensors":
        return found
    if found not in PICKLED:
        raise not_weights(path, found)
    if allow_pickle:
        return found
    if path.suffix.lower() == ".safetensors":
        raise weights_error(
            "E406",
            path,
            f"the name ends in .safetensors, but the file is {DESCRIPTIONS[found]}, which can run code",
            "use a real safetensors file; if you trust this file, rename it and set `runtime: {allow_pickle: true}`",
        )
    raise weights_error(
        "E406",
        path,
        f"this is {DESCRIPTIONS[found]}, which can run code when it is read",
        "use the model's .safetensors file, or set `runtime: {allow_pickle: true}` if you trust it",
    )


def not_weights(path: Path, found: Format) -> WeightsError:
    """The error for a file that is not weights: E411 when it stands in for the real file, else E412."""
    code = "E411" if found in ("lfs_pointer", "annex_pointer", "html") else "E412"
    message = f"the file is {DESCRIPTIONS[found]}"
    if found not in ("empty", "stub", "unknown"):
        message += ", not weights"
    remedy = _REMEDIES.get(found, "")
    if not remedy and path.suffix.lower() in WEIGHTS_SUFFIXES:
        remedy = f"its suffix is that of a weights file: {DOWNLOAD_AGAIN}"
    return weights_error(code, path, message, remedy)
