"""Escaping of untrusted text, with one function for each kind of output.

Names, prompts, file names, metadata and error messages can come from strangers. No character in them may move the
cursor, change the text direction, start a command of a CI system, or become markup.
Escapes are those of JSON, so that a JSON document stays valid when it is escaped as a whole.

| output | function |
|---|---|
| everything on the standard streams | `SafeStream`, which `safe_streams` installs |
| one line of text for people | `one_line` |
| GitHub's workflow commands | `annotation` |
| Markdown | `markdown` |
| HTML | `html_text` |
| Mermaid, DOT | `mermaid`, `dot` |
| CSV | `csv_cell` |
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TextIO, cast

_COLOUR = r"\x1b\[[0-9;]*m"
_UNSEEN = re.compile(r"[^\n\t]")
_UNSEEN_OR_COLOUR = re.compile(rf"{_COLOUR}|[^\n\t]")
# GitHub accepts `::error::` at the start of a line, also after spaces, and its old form `##[error]`, like `##vso[` of
# Azure and `##teamcity[`, anywhere in a line.
_COMMAND_AT_START = re.compile(r"^([ \t]*):(?=:)", re.MULTILINE)
_COMMAND_ANYWHERE = re.compile(r"(?<=#)#(?=[A-Za-z]*\[)")
_MARKUP = re.compile(r"([\\`*_{}\[\]<>()#+\-.!|~&])")
# Spreadsheets read a cell that begins with one of these, or its full-width form, as a formula, also after spaces.
_FORMULA = re.compile("[ \u3000]*[=+\\-@\t\r\n\uff1d\uff0b\uff0d\uff20]")
_LAST_OF_PLANE = 0xFFFF


def _escape(character: str) -> str:
    code = ord(character)
    if code <= _LAST_OF_PLANE:
        return f"\\u{code:04x}"
    high, low = divmod(code - _LAST_OF_PLANE - 1, 0x400)
    return f"\\u{0xD800 + high:04x}\\u{0xDC00 + low:04x}"


def visible(text: str) -> str:
    """`text` with every character that is not printable escaped; line breaks and tabs stay."""
    text = text.replace("\r\n", "\n")
    if text.replace("\n", "").replace("\t", "").isprintable():
        return text
    return _UNSEEN.sub(_shown, text)


def one_line(text: str) -> str:
    """`text` on one line: as `visible`, with line breaks as `⏎`."""
    return visible(text).replace("\n", "⏎").replace("\t", " ")


def inert(text: str) -> str:
    """`text` without commands of CI systems; `::` is a command only at the start of the text or of a line."""
    if "::" in text:
        text = _COMMAND_AT_START.sub(r"\1\\u003a", text)
    if "##" in text:
        text = _COMMAND_ANYWHERE.sub(r"\\u0023", text)
    return text


def annotation(level: str, title: str, message: str, place: tuple[str, int, int], *, width: int = 0) -> str:
    """A workflow command: `level` is error, warning or notice, `place` a file, line and column (0: no line)."""
    path, line, column = place
    properties = {"file": path}
    if line:
        properties |= {"line": str(line), "col": str(column)}
        if width:
            properties["endColumn"] = str(column + width)
    properties["title"] = title
    given = ",".join(f"{name}={_property(text)}" for name, text in properties.items() if text)
    return f"::{level} {given}::{_message(message)}"


def _message(text: str) -> str:
    """The message of a command, escaped as the Actions toolkit does."""
    return inert(visible(text)).replace("%", "%25").replace("\n", "%0A")


def _property(text: str) -> str:
    """A property of a command, escaped as the Actions toolkit does."""
    return _message(text).replace(":", "%3A").replace(",", "%2C")


def markdown(text: str) -> str:
    """`text` on one line, without Markdown markup, mentions or links."""
    return _MARKUP.sub(r"\\\1", one_line(text)).replace("@", "@&#8203;")


def html_text(value: object) -> object:
    """A text for a page: as `visible`, also in lists and mappings; the page's template escapes markup.

    Markup (of markupsafe), and values that are not text, do not change.
    """
    if hasattr(value, "__html__"):
        return value
    if isinstance(value, str):
        return inert(visible(value))
    if isinstance(value, Mapping):
        return {html_text(key): html_text(item) for key, item in value.items()}
    if isinstance(value, Sequence):
        return list(map(html_text, value))
    return value


def mermaid(text: str) -> str:
    """`text` for a quoted Mermaid label."""
    # The escapes of Mermaid look like `#35;`.
    text = one_line(text).replace("#", "#35;").replace("`", "#96;").replace("&", "&amp;")
    return text.replace('"', "&quot;").replace("<", "&lt;").replace(">", "&gt;")


def dot(text: str) -> str:
    """`text` for a quoted DOT string."""
    return one_line(text).replace("\\", "\\\\").replace('"', '\\"')


def csv_cell(value: object) -> object:
    """A cell that no spreadsheet executes: a text that looks like a formula gets an apostrophe before it."""
    if not isinstance(value, str):
        return value
    text = visible(value)
    return f"'{text}" if _FORMULA.match(value) else text


class Coloured(str):
    """A text for a terminal with colours of this package; everything else in it is escaped."""

    __slots__ = ()


class Escaped(str):
    """A text that is already escaped, such as workflow commands or a page; it is written unchanged."""

    __slots__ = ()


class Written(str):
    """The text of a file, such as a recipe; it is written as UTF-8, independent of the encoding of the stream."""

    __slots__ = ()


class SafeStream:
    """A text stream that escapes everything that could act on a terminal or a CI system.

    Characters that the encoding of the stream does not have are escaped too.
    """

    def __init__(self, stream: TextIO) -> None:
        """Write to `stream`."""
        self.stream = stream
        self._at_start = True

    def __getattr__(self, name: str) -> object:
        """Everything else is delegated to the stream."""
        return getattr(self.stream, name)

    def write(self, text: str) -> int:
        """Write `text` escaped."""
        if isinstance(text, Escaped):
            self._at_start = text.endswith("\n")
            self.stream.write(self._encodable(text))
            return len(text)
        shown = self._safe(text)
        last = text.rpartition("\n")[2]
        self._at_start = not last.strip() and (self._at_start or "\n" in text)
        encoding = (getattr(self.stream, "encoding", None) or "utf-8").lower().replace("_", "-")
        if isinstance(text, Written) and encoding not in ("utf-8", "utf8") and hasattr(self.stream, "buffer"):
            self.stream.flush()
            self.stream.buffer.write(shown.encode("utf-8"))
        else:
            self.stream.write(self._encodable(shown))
        return len(text)

    def _safe(self, text: str) -> str:
        if isinstance(text, Coloured):
            text = _UNSEEN_OR_COLOUR.sub(_shown, text.replace("\r\n", "\n"))
        else:
            text = visible(text)
        if self._at_start:
            return inert(text)
        # A command counts only at the start of a line, and this text continues one.
        return inert(f".{text}")[1:]

    def writelines(self, lines: Sequence[str]) -> None:
        """Write each."""
        for line in lines:
            self.write(line)

    def _encodable(self, text: str) -> str:
        encoding = getattr(self.stream, "encoding", None) or "utf-8"
        try:
            text.encode(encoding)
        except UnicodeEncodeError:
            return "".join(_encodable(letter, encoding) for letter in text)
        return text


def _shown(found: re.Match[str]) -> str:
    """A printable character or a colour unchanged, any other character escaped."""
    text = found[0]
    return text if len(text) > 1 or text.isprintable() else _escape(text)


def _encodable(letter: str, encoding: str) -> str:
    try:
        letter.encode(encoding)
    except UnicodeEncodeError:
        return _escape(letter)
    return letter


def _safe_stream(stream: TextIO) -> TextIO:
    # A process can start without a stream: then it is None.
    return cast("TextIO", stream and SafeStream(stream))


@contextmanager
def safe_streams() -> Iterator[None]:
    """Replace the standard streams by safe ones inside the block."""
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = _safe_stream(before[0]), _safe_stream(before[1])
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


def bare(stream: TextIO) -> TextIO:
    """The stream behind a safe one, for code that draws on a terminal and escapes its texts itself."""
    return stream.stream if isinstance(stream, SafeStream) else stream
