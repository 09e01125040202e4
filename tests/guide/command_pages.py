"""The reference of the command line, from the parsers of the commands."""

from __future__ import annotations

import argparse

from recipe_runner.cli.main import COMMANDS, Parser, build_parser

# argparse has no public way to a parser's arguments.
UNLISTED = (argparse._HelpAction, argparse._SubParsersAction)
_STATUSES = """\
## Exit statuses

| status | meaning |
|--:|---|
| 0 | success: the recipe is valid, the lock is current, both sides are the same |
| 1 | the recipe is invalid or its parts do not fit, the lock is stale, or two things differ |
| 2 | wrong usage: the command line cannot be understood |
| 3 | failed: a file is missing or broken, the network or device is not available, or memory ran out |
| 4 | a bug in recipe-runner; the message names a log file |
| 130 | interrupted; finished images are kept |

Results go to stdout, everything else to stderr.
"""


def commands_page(note: str) -> str:
    """Every command with its arguments, options and examples."""
    parser = build_parser()
    lines = ["# Commands", note, "| command | |", "|---|---|"]
    lines += [f"| [`{name}`](#{name}) | {summary} |" for name, summary in COMMANDS.items()]
    lines += ["", "`recipe-runner COMMAND --help` prints the same as the sections below.", "", _STATUSES]
    for name in COMMANDS:
        lines += _section(name, parser.commands[name])
    return "\n".join(lines)


def _section(name: str, parser: Parser) -> list[str]:
    lines = [f"## {name}", "", f"{parser.description}", ""]
    lines += _rows(parser)
    # A command with commands of its own: `runs list`, `runs show`.
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for word, sub in action.choices.items():
                lines += [f"`{name} {word}`:", "", *_rows(sub)]
    if parser.epilog:
        lines += ["```text", parser.epilog.strip("\n"), "```", ""]
    return lines


def _rows(parser: argparse.ArgumentParser) -> list[str]:
    rows = []
    for action in parser._actions:
        if isinstance(action, UNLISTED) or action.help == argparse.SUPPRESS:
            continue
        rows.append(f"| {_names(action)} | {_text(action)} |")
    return ["| argument | |", "|---|---|", *rows, ""] if rows else []


def _names(action: argparse.Action) -> str:
    value = action.metavar or action.dest.upper()
    if action.choices is not None:
        value = "{" + ",".join(action.choices) + "}"
    if not action.option_strings:
        return f"`{value}`"
    name = ", ".join(action.option_strings)
    return f"`{name}`" if action.nargs == 0 else f"`{name} {value}`"


def _text(action: argparse.Action) -> str:
    return (action.help or "").replace("|", "\\|")
