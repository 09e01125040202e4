"""Write the parts of the guide and of the README that come from the package itself.

    .venv/bin/python tests/guide/renew.py             write them
    .venv/bin/python tests/guide/renew.py --check     say which are not current

A test runs the check. Everything else in the guide is written by hand.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from guide.command_pages import commands_page  # noqa: E402
from guide.model_tables import models_page, models_table  # noqa: E402
from guide.recipe_page import recipe_page  # noqa: E402

from recipe_runner.cli.guide import KINDS, pages  # noqa: E402
from recipe_runner.problems.codes import CODES  # noqa: E402

PACKAGE = ROOT / "recipe_runner"
GUIDE = PACKAGE / "guide"
NOTE = "<!-- Written by tests/guide/renew.py. -->\n"
_BEGIN, _END = "<!-- begin: models -->\n", "<!-- end: models -->"
_GROUPS = {
    "1": "The text of the document",
    "2": "The shape of a recipe",
    "3": "Rules between fields",
    "4": "Sources and locks",
    "5": "The base model",
    "6": "Adapters",
    "7": "Planning and running",
    "8": "Runs, imports and exports",
    "9": "The command line",
}
_KIND_NOTES = {
    "tutorials": "Follow one from its first line to its last.",
    "how-to": "Each answers one question.",
    "reference": "What there is, whole.",
    "explanation": "Why it is so.",
}


def generated() -> dict[Path, str]:
    """Every file with a generated part, and the text that it should have."""
    readme = ROOT / "README.md"
    reference = GUIDE / "reference"
    return {
        readme: with_models(readme.read_text(encoding="utf-8")),
        GUIDE / "README.md": index_page(),
        reference / "recipe.md": recipe_page(NOTE),
        reference / "commands.md": commands_page(NOTE),
        reference / "problem-codes.md": codes_page(),
        reference / "models.md": models_page(NOTE),
    }


def with_models(readme: str) -> str:
    """The README with the table of models as the package's tables make it."""
    before, _, rest = readme.partition(_BEGIN)
    after = rest.partition(_END)[2]
    return before + _BEGIN + models_table() + _END + after


def index_page() -> str:
    """The guide's first page, for readers on GitHub."""
    lines = [
        "# The guide",
        NOTE,
        "`recipe-runner guide` lists these pages, and `recipe-runner guide TOPIC` prints one.",
    ]
    for kind, title in KINDS.items():
        lines += ["", f"## {title}", "", _KIND_NOTES[kind], ""]
        lines += [f"- [{page.title}]({kind}/{page.topic}.md)" for page in pages().values() if page.kind == kind]
    return "\n".join(lines) + "\n"


def codes_page() -> str:
    """Every problem code with its title and the exit status it leads to."""
    lines = [
        "# Problem codes",
        NOTE,
        "A code that starts with E is an error, one that starts with W a warning. `recipe-runner explain CODE` prints",
        "the page of a code: what it means, an example, and what to do. *Exit* is the status that a command leaves",
        "when this is its gravest problem ([exit statuses](commands.md#exit-statuses)).",
    ]
    explained = {path.stem: path for path in PACKAGE.rglob("[EW][0-9][0-9][0-9].md")}
    for digit, title in _GROUPS.items():
        codes = sorted(code for code in CODES if code[1] == digit)
        if not codes:
            continue
        lines += ["", f"## {digit}xx: {title[0].lower()}{title[1:]}", "", "| code | title | exit |", "|---|---|--:|"]
        for code in codes:
            link = os.path.relpath(explained[code], GUIDE / "reference").replace(os.sep, "/")
            status = CODES[code].exit_status if code.startswith("E") else ""
            lines.append(f"| [{code}]({link}) | {CODES[code].title} | {status} |")
    return "\n".join(lines) + "\n"


def main() -> int:
    """Write what is not current, or say it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; leave with 1 when a file is not current")
    check = parser.parse_args().check
    # Twice: the index lists titles of pages that the first pass may have written for the first time.
    stale: dict[Path, None] = {}
    for _ in range(2):
        for path, text in generated().items():
            if path.is_file() and path.read_text(encoding="utf-8") == text:
                continue
            stale[path] = None
            if not check:
                path.write_text(text, encoding="utf-8")
    for path in stale:
        print(f"{path.relative_to(ROOT)}: {'not current' if check else 'written'}")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
