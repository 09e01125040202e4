"""Explain the errors of the YAML parser, each with a remedy."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import yaml

from recipe_runner.problems.problem import Problem

if TYPE_CHECKING:
    from recipe_runner.document.text import SourceText

_INDENT = re.compile(r"[ \t]*")
_KEY = re.compile(r"\s*\w+:")
_ENDED = re.compile(r"""(?::|-)\s+(?:"[^"]*"|'[^']*'|\[[^\]]*\]|\{[^}]*\})\s*$""")
"""A complete quoted text, list or mapping before the place where the parser stops."""
_QUOTE = 'If it belongs to a text, put the whole text in quotes: "…".'

_NO_ANCHOR = "`&` starts an anchor and `*` an alias, but this is neither"
_NO_TAGS = "tags are not supported; quote a text that starts with `!`"
_SAME_INDENTATION = "Give all keys of a mapping the same indentation, and close every quote before a line ends."

# Words of the parser (libyaml's and PyYAML's) → our message and the remedy. The first match counts.
_TABLE: tuple[tuple[str, str, str], ...] = (
    ("mapping values are not allowed", "`: ` starts a key here, inside a value", _QUOTE),
    (
        "block sequence entries are not allowed",
        "`- ` starts a list element here, where none can be",
        "Start the list on its own line.",
    ),
    (
        "could not find expected ':'",
        "this line is neither `key: value` nor the continuation of a text",
        "Write a `:` after the key; check the indentation of the lines around it.",
    ),
    (
        "expected key",
        "this line does not fit the mapping above it",
        _SAME_INDENTATION,
    ),
    (
        "<block end>",
        "this line does not fit the mapping or list above it",
        _SAME_INDENTATION,
    ),
    ("expected '-' indicator", "this line does not fit the list above it", "Start each element with `- `."),
    ("expected ',' or ']'", "a `,` or the `]` of the list is missing", "Close the list with `]`."),
    ("expected ',' or '}'", "a `,` or the `}` of the mapping is missing", "Close the mapping with `}`."),
    ("unexpected end of stream", "a quoted text is not closed", "Write the closing quote."),
    ("unexpected document indicator", "a quoted text is not closed", "Write the closing quote."),
    (
        "invalid Unicode character escape",
        "an unpaired surrogate escape, as JSON writes characters beyond U+FFFF",
        "Write the character itself, as `json.dumps(…, ensure_ascii=False)` does, or its escape: `\\U0001F600`.",
    ),
    ("unknown escape", "an unknown escape", "Write `\\\\` for a backslash, or use single quotes."),
    ("hexdecimal number", "an escape without its hexadecimal digits", "Write `\\x41` or `\\u0041`."),
    ("expected escape sequence of", "an escape without its hexadecimal digits", "Write `\\x41` or `\\u0041`."),
    ("document start", "text after the end of the document", "Check the indentation of this line."),
    ("duplicate %YAML", "two `%YAML` lines", "Delete one."),
    ("incompatible", "the file declares a YAML version other than 1.2", "Delete the `%YAML` line."),
    ("tag handle", _NO_TAGS, 'Write "!…".'),
    ("while scanning a tag", _NO_TAGS, 'Write "!…".'),
    ("while parsing a tag", _NO_TAGS, 'Write "!…".'),
    ("anchor", _NO_ANCHOR, _QUOTE),
    ("alias", _NO_ANCHOR, _QUOTE),
    ("node content", "a value is missing here", _QUOTE),
    ("directive", "`%` starts a directive at the beginning of a line, but this is not a directive", _QUOTE),
)  # fmt: skip


def syntax_problem(error: yaml.YAMLError, origin: SourceText, shift: int = 0) -> Problem:
    """The parser's error as a problem: E105 for tabs in the indentation, otherwise E104."""
    if not isinstance(error, yaml.MarkedYAMLError) or error.problem_mark is None:
        return Problem.at(origin.at(1, 1), "E104", f"the text is not YAML: {error}")
    mark = error.problem_mark
    complaint = f"{error.context or ''}: {error.problem or ''}"
    unclosed = "quoted scalar" in complaint and "unexpected" in complaint
    if unclosed and error.context_mark is not None:
        mark = error.context_mark
    line, column = mark.line + 1, mark.column + 1
    if mark.line == 0:
        column += shift
    text = origin.line(line)
    if not unclosed and _is_indented_by_tab(text):
        hint = "Indent with spaces; most editors can convert."
        return Problem.at(origin.at(line, text.index("\t") + 1), "E105", "a tab is used for indentation", hint)
    message, hint = _explained(complaint, text, column)
    if error.context_mark is not None and error.context_mark.line != mark.line:
        message += f" (it starts on line {error.context_mark.line + 1})"
    return Problem.at(origin.at(line, column), "E104", message, hint)


def _is_indented_by_tab(line: str) -> bool:
    indent = _INDENT.match(line)
    return indent is not None and "\t" in indent.group()


def _explained(complaint: str, line: str, column: int) -> tuple[str, str]:
    """The message and the hint for what the parser says about a column of a line."""
    before = line[: column - 1]
    if "mapping values are not allowed" in complaint and _KEY.match(line) and before.strip().isidentifier():
        # The parser stops here, at a correct line, because the line above has not ended.
        hint = "Look at the line above: it may lack a `:`, or be indented less than this one."
        return "a key starts here, and the line above it is not complete", hint
    message, hint = _in_table(complaint, line[column - 1 : column])
    if message.startswith("this line does not fit") and _ENDED.search(before):
        hint = "If it belongs to the text, put the whole text in quotes: '…'."
        return "the value has ended before this", hint
    return message, hint


def _in_table(complaint: str, character: str) -> tuple[str, str]:
    if "cannot start any token" in complaint:
        shown = "a tab" if character == "\t" else f"`{character}`"
        return f"a value cannot start with {shown}", "Put the text in quotes."
    for words, message, hint in _TABLE:
        if words in complaint:
            return message, hint
    return f"the text is not YAML: {complaint.strip(': ')}", "Check the indentation, the quotes and the brackets."
