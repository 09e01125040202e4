"""The fenced blocks of a Markdown page, with the comment before each that says how it is tested."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from support.command import ROOT

GUIDE = ROOT / "recipe_runner" / "guide"
PAGES = (ROOT / "README.md", *sorted(GUIDE.rglob("*.md")))
_BLOCK = re.compile(
    r"(?:^<!-- (?P<note>[^\n]*) -->\n)?^(?P<fence>```+)(?P<language>\w*)\n(?P<text>.*?)^(?P=fence)$",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """One fenced block.

    Attributes:
        page: the Markdown file.
        line: the line of the block's text, from 1.
        language: the word after the fence.
        note: the comment before it: `not run: WHY`, `exit N`, `prints`, `file: PATH`, … or empty.
        text: the lines between the fences.
    """

    page: Path
    line: int
    language: str
    note: str
    text: str

    @property
    def where(self) -> str:
        """The block's place, for a failing test."""
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    def noted(self, name: str) -> str | None:
        """What the note says after `name`; None where it says something else."""
        head, _, rest = self.note.partition(" ")
        return rest.strip() if head.rstrip(":") == name else None


def blocks(page: Path) -> Iterator[Block]:
    """The blocks of a page in order."""
    text = page.read_text(encoding="utf-8")
    for match in _BLOCK.finditer(text):
        yield Block(
            page=page,
            line=text.count("\n", 0, match.start("text")) + 1,
            language=match["language"],
            note=match["note"] or "",
            text=match["text"],
        )
