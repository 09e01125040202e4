"""The metadata of image files: the `parameters` text, plan digest and recipe, added to a finished file.

The pixels are not encoded again: a chunk or segment is inserted into the bytes, so that adding metadata to an image of
the store costs as little as a copy, and always gives the same bytes.

| format | `parameters` text | plan digest | recipe of the image |
|---|---|---|---|
| PNG | chunk `parameters`: tEXt when Latin-1, else iTXt | tEXt `recipe_runner plan` | tEXt `recipe_runner recipe` |
| JPEG, WebP | EXIF UserComment, `UNICODE` and UTF-16 | EXIF DocumentName, the same and the digest | EXIF MakerNote |
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING

from PIL.PngImagePlugin import PngImageFile

from recipe_runner.images.read import WRITTEN, open_image
from recipe_runner.problems.place import Place
from recipe_runner.problems.problem import Problem, RecordError

if TYPE_CHECKING:
    from pathlib import Path

PLAN_KEYWORD = "recipe_runner plan"
RECIPE_KEYWORD = "recipe_runner recipe"
"""Also the beginning of the EXIF MakerNote, followed by a NUL."""

_PARAMETERS_KEYWORD = "parameters"
_PNG_SIGNATURE_AND_HEADER = 8 + 25
_DOCUMENT_NAME = 0x010D
_EXIF_FOLDER = 0x8769
MAKER_NOTE = 0x927C
_USER_COMMENT = 0x9286
_UNICODE = b"UNICODE\0"
# A JPEG segment holds 65,533 bytes; the TIFF structure around the texts takes less than 400 of them.
_JPEG_TEXT_BYTES = 65_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Metadata:
    """The metadata of a file; None for what it does not have."""

    parameters: str | None = None
    plan_digest: str | None = None
    recipe: str | None = None


def add_metadata(data: bytes, file_format: str, metadata: Metadata) -> bytes:
    """The bare image `data` (from `encode`) with `metadata`; the same arguments give the same bytes.

    A NUL, which the formats cannot contain, and a lone surrogate become U+FFFD. A text too long for a JPEG loses the
    end of its prompts, marked with an ellipsis, and keeps its last line. The recipe is ASCII; a JPEG has none if it
    does not fit beside the text.
    """
    text = None
    if metadata.parameters is not None:
        text = _encodable(metadata.parameters)
    recipe = b""
    if metadata.recipe is not None:
        recipe = RECIPE_KEYWORD.encode("ascii") + b"\0" + metadata.recipe.encode("ascii")
    if file_format == "png":
        return _into_png(data, text, metadata.plan_digest, recipe)
    if file_format == "jpeg":
        return _into_jpeg(data, _jpeg_tiff(text, metadata.plan_digest, recipe))
    if file_format == "webp":
        return _into_webp(data, _tiff(text, metadata.plan_digest, recipe))
    raise AssertionError(f"BUG: not an image format: {file_format!r}")


def read_metadata(path: Path) -> Metadata:
    """The metadata of the image file `path`.

    Raises:
        RecordError: E802, the file cannot be read; E806, it is not an image.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        reason = error.strerror or str(error)
        problem = Problem(code="E802", message=f"cannot read {path}: {reason}", place=Place(str(path)))
        raise RecordError(problem) from error
    try:
        return metadata_of(data)
    except (ValueError, LookupError) as error:
        problem = Problem(code="E806", message=f"not a readable image: {error}", place=Place(str(path)))
        raise RecordError(problem) from error


def metadata_of(data: bytes) -> Metadata:
    """The metadata in the bytes `data` of an image file.

    Raises:
        UnreadableImage: as `open_image`.
        ValueError: a text is not in its declared encoding.
    """
    with open_image(BytesIO(data), WRITTEN) as image:
        if isinstance(image, PngImageFile):
            texts = image.text
            return Metadata(
                parameters=texts.get(_PARAMETERS_KEYWORD),
                plan_digest=texts.get(PLAN_KEYWORD),
                recipe=texts.get(RECIPE_KEYWORD),
            )
        exif = image.getexif()
        folder = exif.get_ifd(_EXIF_FOLDER)
        comment, note = folder.get(_USER_COMMENT), folder.get(MAKER_NOTE)
        name = exif.get(_DOCUMENT_NAME)
    parameters = None
    if isinstance(comment, bytes) and comment.startswith(_UNICODE):
        parameters = comment.removeprefix(_UNICODE).decode("utf-16-be")
    plan_digest = None
    if isinstance(name, str) and name.startswith(PLAN_KEYWORD):
        plan_digest = name.removeprefix(PLAN_KEYWORD).strip("\0 ")
    return Metadata(parameters=parameters, plan_digest=plan_digest, recipe=recipe_of_note(note))


def recipe_of_note(note: object) -> str | None:
    """The recipe in an EXIF MakerNote; None for a note of another program."""
    if not isinstance(note, bytes):
        return None
    keyword, _, text = note.partition(b"\0")
    if keyword != RECIPE_KEYWORD.encode("ascii"):
        return None
    return text.decode("ascii", "replace")


def _encodable(text: str) -> str:
    return text.replace("\0", "\ufffd").encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _shortened(text: str) -> str:
    excess = len(text.encode("utf-16-be")) - _JPEG_TEXT_BYTES
    if excess <= 0:
        return text
    prompts, _, last = text.rpartition("\n")
    # Cutting inside a surrogate pair leaves half of one, which is dropped.
    kept = prompts.encode("utf-16-be")[: max(0, _JPEG_TEXT_BYTES - 4 - len(last.encode("utf-16-be")))]
    return f"{kept.decode('utf-16-be', 'ignore')}…\n{last}"


def _into_png(data: bytes, text: str | None, plan_digest: str | None, recipe: bytes) -> bytes:
    chunks = b""
    if text is not None:
        keyword = _PARAMETERS_KEYWORD.encode("ascii")
        try:
            chunks += _png_chunk(b"tEXt", keyword + b"\0" + text.encode("latin-1"))
        except UnicodeEncodeError:
            # Keyword; not compressed; no language; no translated keyword.
            chunks += _png_chunk(b"iTXt", keyword + b"\0\0\0\0\0" + text.encode("utf-8"))
    if plan_digest is not None:
        chunks += _png_chunk(b"tEXt", PLAN_KEYWORD.encode("ascii") + b"\0" + plan_digest.encode("ascii"))
    if recipe:
        chunks += _png_chunk(b"tEXt", recipe)
    return data[:_PNG_SIGNATURE_AND_HEADER] + chunks + data[_PNG_SIGNATURE_AND_HEADER:]


def _png_chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def _into_jpeg(data: bytes, tiff: bytes) -> bytes:
    content = b"Exif\0\0" + tiff
    segment = b"\xff\xe1" + struct.pack(">H", len(content) + 2) + content
    # After the start marker, and after the JFIF segment that Pillow writes next.
    place = 2
    if data[2:4] == b"\xff\xe0":
        place = 4 + struct.unpack(">H", data[4:6])[0]
    return data[:place] + segment + data[place:]


def _into_webp(data: bytes, tiff: bytes) -> bytes:
    with open_image(BytesIO(data), ("WEBP",)) as image:
        width, height = image.size
    has_exif = 0x08
    size = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    header = _riff_chunk(b"VP8X", bytes((has_exif, 0, 0, 0)) + size)
    content = b"WEBP" + header + data[12:] + _riff_chunk(b"EXIF", tiff)
    return b"RIFF" + struct.pack("<I", len(content)) + content


def _riff_chunk(kind: bytes, content: bytes) -> bytes:
    return kind + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2)


def _jpeg_tiff(text: str | None, plan_digest: str | None, recipe: bytes) -> bytes:
    """EXIF that fits into a JPEG segment."""
    if text is not None:
        text = _shortened(text)
    if len((text or "").encode("utf-16-be")) + len(recipe) > _JPEG_TEXT_BYTES:
        recipe = b""
    return _tiff(text, plan_digest, recipe)


def _tiff(text: str | None, plan_digest: str | None, recipe: bytes) -> bytes:
    """EXIF as a TIFF structure, big-endian, which readers that ignore the byte order assume."""
    name = b""
    if plan_digest is not None:
        name = f"{PLAN_KEYWORD} {plan_digest}\0".encode("ascii")
    comment = b""
    if text is not None:
        comment = _UNICODE + text.encode("utf-16-be")
    first_folder, entry = 8, 12
    second_folder = first_folder + 2 + 2 * entry + 4
    count = 1
    if recipe:
        count = 2
    name_place = second_folder + 2 + count * entry + 4
    recipe_place = name_place + len(name) + len(name) % 2
    comment_place = recipe_place + len(recipe) + len(recipe) % 2
    ascii_type, long_type, undefined_type = 2, 4, 7
    note = b""
    if recipe:
        note = struct.pack(">HHII", MAKER_NOTE, undefined_type, len(recipe), recipe_place)
    return b"".join(
        (
            b"MM\0*" + struct.pack(">I", first_folder),
            struct.pack(">H", 2),
            struct.pack(">HHII", _DOCUMENT_NAME, ascii_type, len(name), name_place),
            struct.pack(">HHII", _EXIF_FOLDER, long_type, 1, second_folder),
            struct.pack(">I", 0),
            struct.pack(">H", count),
            note,
            struct.pack(">HHII", _USER_COMMENT, undefined_type, len(comment), comment_place),
            struct.pack(">I", 0),
            name + b"\0" * (len(name) % 2),
            recipe + b"\0" * (len(recipe) % 2),
            comment,
        )
    )
