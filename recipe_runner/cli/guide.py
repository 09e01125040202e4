"""`recipe-runner guide`: print a page of the guide."""

from __future__ import annotations

import argparse
import json
import re
import sys
from dataclasses import dataclass
from importlib.resources import files

from recipe_runner.cli.options import add_format

EXAMPLES = """\
examples:
  recipe-runner guide                      list every topic with its title
  recipe-runner guide first-run
  recipe-runner guide recipe | less
  recipe-runner guide reproducibility --format json
"""
KINDS = {
    "tutorials": "Tutorials",
    "how-to": "How to",
    "reference": "Reference",
    "explanation": "Explanation",
}
"""The folders of the guide and their titles, in the order in which a newcomer reads them."""
_COMMENT = re.compile(r"^<!--.*?-->\n", re.MULTILINE | re.DOTALL)
_PAGE_LINK = re.compile(r"\[([^\]]+)\]\((?:[^()\s]*/)?([a-z0-9-]+)\.md(?:#[^()\s]*)?\)")
_FILE_LINK = re.compile(r"\[([^\]]+)\]\((?!https:)[^()\s]+\)")
_IMAGE = re.compile(r"^!\[([^\]]*)\]\([^()\s]+\)$", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """A page of the guide: `topic` is its name on the command line, `kind` its folder, `text` its Markdown."""

    topic: str
    kind: str
    text: str

    @property
    def title(self) -> str:
        """The page's heading."""
        return self.text.partition("\n")[0].removeprefix("# ")


def pages() -> dict[str, Page]:
    """Every page of the guide by its topic, tutorials first."""
    found: dict[str, Page] = {}
    for kind in KINDS:
        folder = files("recipe_runner") / "guide" / kind
        for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
            topic = entry.name.removesuffix(".md")
            found[topic] = Page(topic=topic, kind=kind, text=entry.read_text(encoding="utf-8"))
    return found


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command."""
    parser.epilog = EXAMPLES
    add_format(parser, "human", "json")
    parser.add_argument("topic", nargs="?", metavar="TOPIC", help="a topic of the guide (default: list all topics)")


def run(arguments: argparse.Namespace) -> int:
    """Print a page, or the list of topics."""
    from recipe_runner.problems.codes import USAGE  # noqa: PLC0415
    from recipe_runner.problems.suggest import nearest  # noqa: PLC0415

    guide = pages()
    as_json = arguments.format == "json"
    if arguments.topic is None:
        list_topics = _topics_json if as_json else _topics
        sys.stdout.write(list_topics(guide))
        return 0
    page = guide.get(arguments.topic.casefold())
    if page is None:
        meant = nearest(arguments.topic, guide)
        hint = "`recipe-runner guide` lists the topics."
        if meant is not None:
            hint = f"Did you mean `{meant}`?"
        sys.stderr.write(f"unknown topic {arguments.topic}. {hint}\n")
        return USAGE
    if as_json:
        entry = {"topic": page.topic, "kind": page.kind, "title": page.title, "page": page.text}
        sys.stdout.write(json.dumps(entry, indent=2, ensure_ascii=False) + "\n")
    elif sys.stdout.isatty():
        _print_on_terminal(printable(page.text))
    else:
        sys.stdout.write(printable(page.text))
    return 0


def printable(text: str) -> str:
    """A page for the terminal: without comments and images; links become the topic of a page, or plain text."""
    text = _IMAGE.sub("", _COMMENT.sub("", text))
    return _FILE_LINK.sub(r"\1", _PAGE_LINK.sub(r"\1 (`recipe-runner guide \2`)", text))


def _topics(guide: dict[str, Page]) -> str:
    lines: list[str] = []
    width = max(map(len, guide))
    for kind, title in KINDS.items():
        lines.append(f"{title}:")
        lines += [f"  {page.topic:{width}}  {page.title}" for page in guide.values() if page.kind == kind]
    return "\n".join(lines) + "\n"


def _topics_json(guide: dict[str, Page]) -> str:
    topics = [{"topic": page.topic, "kind": page.kind, "title": page.title} for page in guide.values()]
    return json.dumps({"topics": topics}, indent=2, ensure_ascii=False) + "\n"


def _print_on_terminal(text: str) -> None:
    from rich.console import Console  # noqa: PLC0415 - slow, and only for a terminal
    from rich.markdown import Markdown  # noqa: PLC0415

    from recipe_runner.report.escape import bare  # noqa: PLC0415

    # The guide is this package's own text: the safe stream would escape the colours.
    Console(file=bare(sys.stdout)).print(Markdown(text, hyperlinks=False))
