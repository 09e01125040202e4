"""The names of the files of a run folder, and of the store's folder beside it."""

from __future__ import annotations

MANIFEST = "manifest.json"
RECIPE = "recipe.yaml"
RESOLVED = "resolved.yaml"
LOCK = "recipe.lock.yaml"
JOURNAL = "journal.jsonl"
TELEMETRY = "telemetry.json"
REPORT = "report.html"
SEAL = ".seal.json"
CONTACT_SHEET = "contact-sheet.png"
DOCUMENTS = (MANIFEST, RECIPE, RESOLVED, LOCK, JOURNAL, TELEMETRY, REPORT, CONTACT_SHEET)
IMAGES = "images"
STORE = "store"
