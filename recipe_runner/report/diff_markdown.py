"""A difference as Markdown, for pull requests and job summaries."""

from __future__ import annotations

from collections.abc import Iterator

from recipe_runner.diff.difference import Cost, Difference, Word
from recipe_runner.report.diff import SAME, unequal
from recipe_runner.report.diff_lines import SHOWN, counts, measure_text, name_of, reasons, sections, verdicts
from recipe_runner.report.escape import markdown

_SIGNS = {"+": "added", "-": "removed", "~": "changed"}


def diff_markdown(difference: Difference) -> str:
    """The difference as Markdown; texts of a recipe are escaped."""
    return "\n".join(_lines(difference)) + "\n"


def _lines(difference: Difference) -> Iterator[str]:
    yield f"### {markdown(difference.old)} → {markdown(difference.new)}"
    yield ""
    if difference.same:
        yield f"{SAME.capitalize()}."
        yield ""
    for section, lines in sections(difference.changes):
        yield f"**{markdown(section)}**"
        yield ""
        for entry in lines:
            yield f"- {_SIGNS[entry.sign]} {markdown(entry.path)}: {''.join(map(_dressed, entry.pieces))}"
        yield ""
    if difference.cost is not None:
        yield from _cost(difference.cost)
    if difference.pairs:
        yield from _pairs(difference)
    for note in difference.notes:
        yield f"> {markdown(note)}"
        yield ""


def _cost(cost: Cost) -> Iterator[str]:
    yield f"**images**: {counts(cost)}"
    yield ""
    listed = list(reasons(cost))
    if listed:
        yield "| images | fate | reason |"
        yield "|--:|---|---|"
        for fate, reason, count in listed[:SHOWN]:
            yield f"| {count} | {fate} | {markdown(reason)} |"
        if len(listed) > SHOWN:
            yield f"| | | … and {len(listed) - SHOWN} more |"
        yield ""
    for reason in cost.provisional:
        yield f"> provisional: {markdown(reason)}"
        yield ""


def _pairs(difference: Difference) -> Iterator[str]:
    yield f"**images**: {verdicts(difference)}"
    yield ""
    pairs = unequal(difference)
    if not pairs:
        return
    yield "| image | verdict | measured | reason |"
    yield "|---|---|---|---|"
    for pair in pairs[:SHOWN]:
        cells = (name_of(pair), pair.verdict, measure_text(pair), "; ".join(pair.reasons[:3]))
        yield f"| {' | '.join(map(markdown, cells))} |"
    yield ""
    if len(pairs) > SHOWN:
        yield f"… and {len(pairs) - SHOWN} more"
        yield ""


def _dressed(piece: Word) -> str:
    text = markdown(piece.text)
    inner = text.strip()
    if piece.sign == " " or not inner:
        return text
    # Markdown wants no space between a mark and the text.
    mark = "~~" if piece.sign == "-" else "**"
    return text.replace(inner, f"{mark}{inner}{mark}", 1)
