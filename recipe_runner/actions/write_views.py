"""Write the contact sheet and the report of a run folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from recipe_runner.images.contact_sheet import Row, contact_sheet
from recipe_runner.plan.compile import Plan, compile_plan
from recipe_runner.plan.resolve import resolve
from recipe_runner.problems.problem import RecipeRunnerError
from recipe_runner.recipe.matrix import variants
from recipe_runner.record.folder import RunFolder
from recipe_runner.record.manifest import Manifest
from recipe_runner.record.names import CONTACT_SHEET, REPORT, RESOLVED
from recipe_runner.record.read_run import RecordedRun, read_run
from recipe_runner.report.page.runs import report_html
from recipe_runner.report.page.section import Subject


def write_views(folder: RunFolder, plan: Plan, manifest: Manifest) -> None:
    """Write contact-sheet.png and report.html, from the documents that were just written."""
    made = {image.path for image in manifest.images}
    columns = plan.recipe.variants
    texts: dict[str, str] = {}
    for variant in columns:
        for prompt in variant.prompts:
            texts.setdefault(prompt.id, prompt.texts["prompt"])
    cells: dict[tuple[str, int], list[Path | None]] = {}
    for image in plan.images:
        path = folder.image_path(image.path)
        row = cells.setdefault((image.prompt, image.seed), [None] * len(columns))
        if path in made:
            row[image.variant] = folder.path / path
    rows = []
    for (prompt_id, seed), images in cells.items():
        rows.append(Row(prompt_id=prompt_id, prompt=texts[prompt_id], seed=seed, images=images))
    folder.write(CONTACT_SHEET, contact_sheet(plan.recipe.name, [variant.values for variant in columns], rows))
    subject = Subject(run=read_run(folder.path), graph=plan.graph)
    folder.write(REPORT, report_html([subject], folder.path))


def report_of(folders: Sequence[Path], page_folder: Path, *, embed: bool = False) -> bytes:
    """A report of recorded runs, as a page for the folder `page_folder`.

    Raises:
        RecordError: E802, E804 a manifest cannot be read or is not valid.
    """
    subjects = [_subject(read_run(folder)) for folder in folders]
    return report_html(subjects, page_folder, embed=embed)


def _subject(run: RecordedRun) -> Subject:
    """The run with its build graph, compiled again from its resolved recipe."""
    if run.resolved is None:
        return Subject(
            run=run, graph=None, graph_note=f"{RESOLVED} is missing from the run folder, or has another version."
        )
    try:
        plan = compile_plan(resolve(run.resolved, variants(run.resolved)))
    except RecipeRunnerError as error:
        return Subject(run=run, graph=None, graph_note=error.problems[0].message)
    if plan.digest != run.manifest.plan_digest:
        note = "the inputs have changed since the run, or are not on this machine, so the plan is no longer the same."
        return Subject(run=run, graph=None, graph_note=note)
    return Subject(run=run, graph=plan.graph)
