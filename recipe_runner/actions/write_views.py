"""What people look at in a run folder: the contact sheet and the report."""

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
    texts = {prompt.id: prompt.texts for variant in reversed(columns) for prompt in variant.prompts}
    places: dict[tuple[str, int], list[str | None]] = {}
    for image in plan.images:
        path = folder.image_path(image.path)
        row = places.setdefault((image.prompt, image.seed), [None] * len(columns))
        row[image.variant] = path if path in made else None
    rows = [
        Row(
            prompt_id=prompt,
            prompt=texts[prompt]["prompt"],
            seed=seed,
            images=[None if path is None else folder.path / path for path in paths],
        )
        for (prompt, seed), paths in places.items()
    ]
    folder.write(CONTACT_SHEET, contact_sheet(plan.recipe.name, [variant.values for variant in columns], rows))
    subject = Subject(run=read_run(folder.path), graph=plan.graph)
    folder.write(REPORT, report_html([subject], folder.path))


def report_of(folders: Sequence[Path], page_folder: Path, *, embed: bool = False) -> bytes:
    """A report of recorded runs, as a page that will lie in `page_folder`.

    Raises:
        RecordError: E802, E804 when a manifest cannot be read or is none.
    """
    subjects = [_subject(read_run(folder)) for folder in folders]
    return report_html(subjects, page_folder, embed=embed)


def _subject(run: RecordedRun) -> Subject:
    """The run with its build graph, compiled anew from its resolved recipe."""
    if run.resolved is None:
        return Subject(run=run, graph=None, graph_note=f"{RESOLVED} is not beside the manifest, or of another version.")
    try:
        plan = compile_plan(resolve(run.resolved, variants(run.resolved)))
    except RecipeRunnerError as error:
        return Subject(run=run, graph=None, graph_note=error.problems[0].message)
    if plan.digest != run.manifest.plan_digest:
        note = "the inputs have changed since the run, or are not on this machine: the recipe makes another plan now."
        return Subject(run=run, graph=None, graph_note=note)
    return Subject(run=run, graph=plan.graph)
