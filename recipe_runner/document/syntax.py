"""What YAML's parser complains about, in words that say what to do."""

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
"""A quoted text, list or mapping that has ended, before the place where the parser stops."""
_QUOTE = 'If it belongs to a text, put the whole text in quotes: "…".'

# What the parser says (libyaml's words and PyYAML's own) → what we say, and the remedy. The first that fits counts.
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
        "Give all keys of a mapping the same indentation, and close every quote before a line ends.",
    ),
    (
        "<block end>",
        "this line does not fit the mapping or list above it",
        "Give all keys of a mapping the same indentation, and close every quote before a line ends.",
    ),
    ("expected '-' indicator", "this line does not fit the list above it", "Start each element with `- `."),
    ("expected ',' or ']'", "a `,` or the `]` of the list is missing", "Close the list with `]`."),
    ("expected ',' or '}'", "a `,` or the `}` of the mapping is missing", "Close the mapping with `}`."),
    ("unexpected end of stream", "a quoted text is not closed", "Write the closing quote."),
    ("unexpected document indicator", "a quoted text is not closed", "Write the closing quote."),
    (
        "invalid Unicode character escape",
        "half of a character, as JSON writes those beyond U+FFFF",
        "Write the character itself, as `json.dumps(…, ensure_ascii=False)` does, or its escape: `\\U0001F600`.",
    ),
    ("unknown escape", "an unknown escape", "Write `\\\\` for a backslash, or use single quotes."),
    ("hexdecimal number", "an escape without its hexadecimal digits", "Write `\\x41` or `\\u0041`."),
    ("expected escape sequence of", "an escape without its hexadecimal digits", "Write `\\x41` or `\\u0041`."),
    ("document start", "text stands behind the end of the document", "Check the indentation of this line."),
    ("duplicate %YAML", "two `%YAML` lines", "Delete one."),
    ("incompatible", "the file says it is of a YAML version that is not 1.2", "Delete the `%YAML` line."),
    ("tag handle", "recipes know no tags; a text that starts with `!` needs quotes", 'Write "!…".'),
    ("while scanning a tag", "recipes know no tags; a text that starts with `!` needs quotes", 'Write "!…".'),
    ("while parsing a tag", "recipes know no tags; a text that starts with `!` needs quotes", 'Write "!…".'),
    ("anchor", "`&` or `*` starts an anchor or alias, and this is none", _QUOTE),
    ("alias", "`&` or `*` starts an anchor or alias, and this is none", _QUOTE),
    ("node content", "a value is missing here", _QUOTE),
    ("directive", "`%` starts a directive at the beginning of a line, and this is none", _QUOTE),
)  # fmt: skip


def syntax_problem(error: yaml.YAMLError, origin: SourceText, shift: int = 0) -> Problem:
    """The parser's complaint as a problem: E105 for tabs in the indentation, else E104."""
    if not isinstance(error, yaml.MarkedYAMLError) or error.problem_mark is None:
        return Problem.at(origin.at(1, 1), "E104", f"the text is not YAML: {error}")
    mark = error.problem_mark
    said = f"{error.context or ''}: {error.problem or ''}"
    unclosed = "quoted scalar" in said and "unexpected" in said
    if unclosed and error.context_mark is not None:
        mark = error.context_mark
    line, column = mark.line + 1, mark.column + 1 + (shift if mark.line == 0 else 0)
    text = origin.line(line)
    indent = _INDENT.match(text)
    if indent and "\t" in indent.group() and not unclosed:
        hint = "Indent with spaces; most editors can convert."
        return Problem.at(origin.at(line, text.index("\t") + 1), "E105", "a tab is used for indentation", hint)
    message, hint = _explained(said, text[column - 1 : column])
    if message.startswith("this line does not fit") and _ENDED.search(text[: column - 1]):
        message, hint = (
            "the value has ended before this",
            "If it belongs to the text, put the whole text in quotes: '…'.",
        )
    if "mapping values are not allowed" in said and _KEY.match(text) and text[: column - 1].strip().isidentifier():
        # The parser stops here, at a line that is as it should be, because the one above it has not ended.
        message = "a key starts here, and the line above it is not complete"
        hint = "Look at the line above: it may lack a `:`, or be indented less than this one."
    if error.context_mark is not None and error.context_mark.line != mark.line:
        message += f" (it starts on line {error.context_mark.line + 1})"
    return Problem.at(origin.at(line, column), "E104", message, hint)


def _explained(said: str, character: str) -> tuple[str, str]:
    if "cannot start any token" in said:
        shown = "a tab" if character == "\t" else f"`{character}`"
        return f"a value cannot start with {shown}", "Put the text in quotes."
    for words, message, hint in _TABLE:
        if words in said:
            return message, hint
    return f"the text is not YAML: {said.strip(': ')}", "Check the indentation, the quotes and the brackets."
