"""What people look at in a run folder: the contact sheet and the report."""

from __future__ import annotations

from recipe_runner.compile import Plan
from recipe_runner.record.contact_sheet import Row, contact_sheet
from recipe_runner.record.folder import CONTACT_SHEET, REPORT, RunFolder
from recipe_runner.record.manifest import Manifest
from recipe_runner.report.html import PromptText, report_html


def write_views(folder: RunFolder, plan: Plan, manifest: Manifest) -> None:
    """Write contact-sheet.png and report.html, from the manifest that was just written."""
    made = {image.path for image in manifest.images}
    variants = plan.recipe.variants
    texts = {prompt.id: prompt.texts for variant in reversed(variants) for prompt in variant.prompts}
    places: dict[tuple[str, int], list[str | None]] = {}
    for image in plan.images:
        path = folder.image_path(image.path)
        row = places.setdefault((image.prompt, image.seed), [None] * len(variants))
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
    folder.write(CONTACT_SHEET, contact_sheet(plan.recipe.name, [variant.values for variant in variants], rows))
    prompts = {
        prompt: PromptText(prompt=text["prompt"], negative_prompt=text.get("negative_prompt"))
        for prompt, text in texts.items()
    }
    folder.write(REPORT, report_html(manifest, prompts))
