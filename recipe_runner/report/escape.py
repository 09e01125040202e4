"""What strangers wrote, in the escaped form that each sink needs: one function for each sink.

Names, prompts, file names, metadata and messages of failures come from anywhere. A sink shows them: no character of
theirs moves a cursor, changes the direction of what follows, begins a command of a CI system, or becomes markup.
Escapes are those of JSON, so that a JSON document stays one when it is escaped as a whole.

| sink | function |
|---|---|
| the standard streams, all of it | `SafeStream`, which `safe_streams` puts in place |
| one line of a text for people | `one_line` |
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
# GitHub takes `::error::` at the start of a line, behind spaces too, and its old form, as Azure's and TeamCity's
# commands, anywhere in a line: `##[error]`, `##vso[`, `##teamcity[`.
_COMMAND_AT_START = re.compile(r"^([ \t]*):(?=:)", re.MULTILINE)
_COMMAND_ANYWHERE = re.compile(r"(?<=#)#(?=[A-Za-z]*\[)")
_MARKUP = re.compile(r"([\\`*_{}\[\]<>()#+\-.!|~&])")
# Spreadsheets take a cell that begins with one of these for a formula, the wide forms too, and skip spaces before it.
_FORMULA = re.compile("[ \u3000]*[=+\\-@\t\r\n\uff1d\uff0b\uff0d\uff20]")
_LAST_OF_PLANE = 0xFFFF


def _escape(character: str) -> str:
    code = ord(character)
    if code <= _LAST_OF_PLANE:
        return f"\\u{code:04x}"
    return "".join(f"\\u{int.from_bytes(pair, 'big'):04x}" for pair in _pairs(character))


def _pairs(character: str) -> tuple[bytes, bytes]:
    data = character.encode("utf-16-be")
    return data[:2], data[2:]


def visible(text: str) -> str:
    """`text` with every character that is not seen as itself as an escape; line breaks and tabs stay."""
    text = text.replace("\r\n", "\n")
    if text.replace("\n", "").replace("\t", "").isprintable():
        return text
    return _UNSEEN.sub(lambda found: found[0] if found[0].isprintable() else _escape(found[0]), text)


def one_line(text: str) -> str:
    """`text` on one line: as `visible`, and a line break as its sign."""
    return visible(text).replace("\n", "⏎").replace("\t", " ")


def inert(text: str) -> str:
    """`text` without a command of a CI system; `::` counts at the start of a line, and of the text."""
    if "::" in text:
        text = _COMMAND_AT_START.sub(r"\1\\u003a", text)
    return _COMMAND_ANYWHERE.sub(r"\\u0023", text) if "##" in text else text


def annotation(level: str, title: str, message: str, place: tuple[str, int, int], *, width: int = 0) -> str:
    """A workflow command: `level` is error, warning or notice, `place` a file, line and column (0: no line)."""
    path, line, column = place
    properties = {"file": path}
    if line:
        properties |= {"line": str(line), "col": str(column)}
        properties |= {"endColumn": str(column + width)} if width else {}
    properties["title"] = title
    given = ",".join(f"{name}={_of_command(text, within=True)}" for name, text in properties.items() if text)
    return f"::{level} {given}::{_of_command(message)}"


def _of_command(text: str, *, within: bool = False) -> str:
    """As the Actions toolkit escapes: percent and line breaks, `within` properties also colon and comma."""
    text = inert(visible(text)).replace("%", "%25").replace("\n", "%0A")
    return text.replace(":", "%3A").replace(",", "%2C") if within else text


def markdown(text: str) -> str:
    """`text` on one line that no reader of Markdown takes for markup, a mention or a link."""
    return _MARKUP.sub(r"\\\1", one_line(text)).replace("@", "@&#8203;")


def html_text(value: object) -> object:
    """A text for a page: as `visible`, also within lists and mappings; markup is escaped by the page's template.

    What is not text, and what is markup already (as markupsafe marks it), stays as it is.
    """
    if isinstance(value, str):
        return value if hasattr(value, "__html__") else inert(visible(value))
    if isinstance(value, Mapping):
        return {html_text(key): html_text(item) for key, item in value.items()}
    if isinstance(value, Sequence):
        return [html_text(item) for item in value]
    return value


def mermaid(text: str) -> str:
    """`text` within the quotes of a Mermaid label."""
    # Mermaid writes characters as `#35;`.
    text = one_line(text).replace("#", "#35;").replace("`", "#96;").replace("&", "&amp;")
    return text.replace('"', "&quot;").replace("<", "&lt;").replace(">", "&gt;")


def dot(text: str) -> str:
    """`text` within the quotes of a DOT string."""
    return one_line(text).replace("\\", "\\\\").replace('"', '\\"')


def csv_cell(value: object) -> object:
    """A cell that no spreadsheet executes: a text that begins like a formula gets an apostrophe before it."""
    if not isinstance(value, str):
        return value
    return f"'{visible(value)}" if _FORMULA.match(value) else visible(value)


class Coloured(str):
    """A text for a terminal whose colours are this package's; the rest of it is escaped as any text."""

    __slots__ = ()


class Escaped(str):
    """A text that the function of its sink has escaped: workflow commands, a page. It is written as it is."""

    __slots__ = ()


class Written(str):
    """The text of a file, such as a recipe: UTF-8, whatever the encoding of the stream."""

    __slots__ = ()


class SafeStream:
    """A text stream that writes nothing that acts on who reads it.

    A character that the stream's encoding lacks becomes an escape too.
    """

    def __init__(self, stream: TextIO) -> None:
        """Write to `stream`."""
        self.stream = stream
        self._at_start = True

    def __getattr__(self, name: str) -> object:
        """All else is the stream's own."""
        return getattr(self.stream, name)

    def write(self, text: str) -> int:
        """Write the safe form of `text`."""
        if isinstance(text, Escaped):
            self._at_start = text.endswith("\n")
            self.stream.write(self._encodable(text))
            return len(text)
        shown = (
            _UNSEEN_OR_COLOUR.sub(_seen, text.replace("\r\n", "\n")) if isinstance(text, Coloured) else visible(text)
        )
        # Within a line nothing is at its start.
        shown = inert(shown) if self._at_start else inert(f".{shown}")[1:]
        last = text.rpartition("\n")[2]
        self._at_start = not last.strip() and (self._at_start or "\n" in text)
        encoding = (getattr(self.stream, "encoding", None) or "utf-8").lower().replace("_", "-")
        if isinstance(text, Written) and encoding not in ("utf-8", "utf8") and hasattr(self.stream, "buffer"):
            self.stream.flush()
            self.stream.buffer.write(shown.encode("utf-8"))
        else:
            self.stream.write(self._encodable(shown))
        return len(text)

    def writelines(self, lines: Sequence[str]) -> None:
        """Write each."""
        for line in lines:
            self.write(line)

    def _encodable(self, text: str) -> str:
        encoding = getattr(self.stream, "encoding", None) or "utf-8"
        try:
            text.encode(encoding)
        except UnicodeEncodeError:
            return "".join(letter if _has(encoding, letter) else _escape(letter) for letter in text)
        return text


def _seen(found: re.Match[str]) -> str:
    text = found[0]
    return text if len(text) > 1 or text.isprintable() else _escape(text)


def _has(encoding: str, letter: str) -> bool:
    try:
        letter.encode(encoding)
    except UnicodeEncodeError:
        return False
    return True


@contextmanager
def safe_streams() -> Iterator[None]:
    """Put safe streams in the place of the standard ones, for the length of a block."""
    before = sys.stdout, sys.stderr
    # A stream that the process began without is None.
    sys.stdout, sys.stderr = (cast("TextIO", stream and SafeStream(stream)) for stream in before)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


def bare(stream: TextIO) -> TextIO:
    """The stream behind a safe one, for what draws on a terminal and escapes its texts by itself."""
    return stream.stream if isinstance(stream, SafeStream) else stream
