"""Pictures as other programs leave them: any text in any container."""

from __future__ import annotations

import struct
import zlib
from io import BytesIO

from PIL import Image

SIGNATURE = b"\x89PNG\r\n\x1a\n"


def png(*chunks: tuple[bytes, bytes], after: bool = False) -> bytes:
    """A PNG file with these chunks before (or after) its pixels."""
    file = BytesIO()
    Image.new("RGB", (8, 8)).save(file, "PNG")
    data = file.getvalue()
    place = len(data) - 12 if after else 8 + 25
    return data[:place] + b"".join(chunk(*each) for each in chunks) + data[place:]


def chunk(kind: bytes, content: bytes) -> bytes:
    """One PNG chunk."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def text_chunk(keyword: str, text: str) -> tuple[bytes, bytes]:
    """A tEXt chunk as PIL's own writer would choose, or iTXt where Latin-1 has not all letters."""
    try:
        return b"tEXt", keyword.encode("latin-1") + b"\0" + text.encode("latin-1")
    except UnicodeEncodeError:
        return b"iTXt", keyword.encode("latin-1") + b"\0\0\0\0\0" + text.encode("utf-8", "surrogatepass")


def with_comment(format_name: str, comment: bytes) -> bytes:
    """A JPEG, WebP or AVIF picture whose EXIF user comment is `comment`."""
    exif = Image.Exif()
    # Without a tag of the first folder, two of Pillow's writers leave the whole out.
    exif[0x0131] = "a program"
    exif.get_ifd(0x8769)[0x9286] = comment
    file = BytesIO()
    Image.new("RGB", (16, 16)).save(file, format_name, exif=exif)
    return file.getvalue()
