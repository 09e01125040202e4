"""The images of one run: reused from its folder or the store, added as they are made, and recorded at the end."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from recipe_runner.canonical import Json, canonical
from recipe_runner.document.document import Document
from recipe_runner.graph.changed_inputs import inputs_of
from recipe_runner.images.encode import EncodedImage, encode
from recipe_runner.images.metadata import Metadata, add_metadata
from recipe_runner.images.parameters_text import parameters_text
from recipe_runner.images.similarity import read_pixels
from recipe_runner.images.thumbnails import write_thumbnail
from recipe_runner.plan.compile import Plan, PlannedImage
from recipe_runner.problems.problem import Problem, RecordError
from recipe_runner.record.embedded_recipe import Carrier
from recipe_runner.record.folder import RunFolder
from recipe_runner.record.generation import Describer
from recipe_runner.record.journal import JournalEntry
from recipe_runner.record.manifest import Failure, Manifest, read_manifest
from recipe_runner.record.names import MANIFEST, TELEMETRY
from recipe_runner.record.seal import is_sealed, standing_manifest
from recipe_runner.record.store import NOT_MADE, Absent, StoredImage, stored_image
from recipe_runner.record.summary import Entries, is_own, recipe_sha256, write_summary
from recipe_runner.record.telemetry import Invocation, append_telemetry, read_telemetry

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

OnImage = Callable[[str], None]
"""Called with the path of each finished image."""


IN_FOLDER, IN_STORE = "it is in the run folder", "it is in the store"
"""Where a reused image was found."""


class RunImages:
    """The images of `plan` in the run folder `folder`, whose lock the caller holds."""

    def __init__(self, document: Document, overrides: Sequence[str], plan: Plan, folder: RunFolder) -> None:
        """Write nothing yet."""
        self._document, self._overrides, self._plan, self._folder = document, tuple(overrides), plan, folder
        self._describer = Describer(plan)
        self._carrier = Carrier(document, plan)
        self._entries: Entries = {}
        self.reused: dict[str, str] = {}
        """Where each reused image was found, by its path."""
        self._environment: Mapping[str, Json] | None = None
        self._started = datetime.now(UTC)
        self._made: list[str] = []
        self._seconds: dict[str, float] = {}
        self._last = 0.0
        self._by_key: dict[str, list[PlannedImage]] = {}
        for image in plan.images:
            self._by_key.setdefault(image.key, []).append(image)

    def is_complete(self) -> bool:
        """Whether the folder has every image and document of this run, so that nothing has to be written."""
        if not is_sealed(self._folder.path):
            return False
        try:
            manifest = read_manifest(self._folder.path / MANIFEST)
        except RecordError:
            return False
        if (manifest.status, manifest.plan_digest) != ("complete", self._plan.digest):
            return False
        asked = (recipe_sha256(self._document, self._folder), self._overrides)
        if not is_own(self._document, self._folder) and asked != (manifest.recipe_sha256, manifest.overrides):
            return False
        return self._has_images(manifest)

    def _has_images(self, manifest: Manifest) -> bool:
        """Whether the manifest lists the images of the plan, and their files are unchanged."""
        wanted = {self._folder.image_path(image.path): image.key for image in self._plan.images}
        found = {image.path: image.node_key for image in manifest.images}
        if found != wanted:
            return False
        return not any(self._folder.image_fault(image.path, image.file_sha256) for image in manifest.images)

    def collect(self) -> list[PlannedImage]:
        """Reuse images from the folder or the store, and return the images that have to be made.

        If several images have the same key, only the first is returned.
        """
        written = {entry.path: entry for entry in self._folder.journal.recover()}
        known = {**self._in_manifest(), **written}
        missing: dict[str, PlannedImage] = {}
        fresh: list[JournalEntry] = []
        for image in self._plan.images:
            path = self._folder.image_path(image.path)
            entry = known.get(path)
            if entry and entry.node_key == image.key and not self._folder.image_fault(path, entry.file_sha256):
                self._entries[path] = entry
                self.reused[path] = IN_FOLDER
                self._restore(image, entry)
            else:
                found = self._folder.store.get(image.key)
                if isinstance(found, Absent):
                    missing.setdefault(image.key, image)
                    continue
                self.reused[path] = IN_STORE
                entry = self._write(image, found.image, found.data)
            # The line of a file that was lost and is now restored is already in the journal.
            if entry != written.get(path):
                fresh.append(entry)
        self._folder.journal.append(fresh)
        return list(missing.values())

    def _in_manifest(self) -> dict[str, JournalEntry]:
        """The entries that the manifest of a complete run has for existing images: the journal may be lost."""
        manifest = standing_manifest(self._folder.path)
        found: dict[str, JournalEntry] = {}
        if manifest is None:
            return found
        for image in manifest.images:
            file = self._folder.path / image.path
            if not file.is_file():
                continue
            environment = image.environment or manifest.environment
            found[image.path] = JournalEntry(
                path=image.path,
                node_key=image.node_key,
                file_sha256=image.file_sha256,
                pixel_sha256=image.pixel_sha256,
                size=file.stat().st_size,
                width=image.width,
                height=image.height,
                environment=json.loads(canonical(environment.model_dump(mode="json"))),
            )
        return found

    def _restore(self, image: PlannedImage, entry: JournalEntry) -> None:
        """Store an image of the folder again if its record in the store is damaged, or of an older version.

        Only if its file is lossless and has the recorded pixels.
        """
        standing = self._folder.store.look_up(image.key)
        if isinstance(standing, StoredImage) or standing == NOT_MADE:
            return
        try:
            pixels = read_pixels(self._folder.path / entry.path)
        except RecordError:
            return
        output: Mapping[str, Any] = self._plan.recipe.variants[image.variant].output
        picture = encode(pixels, output["format"], output["quality"])
        if picture.pixel_sha256 == entry.pixel_sha256:
            inputs = inputs_of(self._plan.graph, image.key)
            self._folder.store.put(stored_image(picture, image.key, entry.environment, inputs), picture.data)

    def begin(self, environment: Mapping[str, Json]) -> None:
        """Set the environment of the images that are made from now on."""
        # In the store's key order, so that manifests of new and of stored images are the same.
        self._environment = json.loads(canonical(environment))
        self._last = time.monotonic()

    def add(self, key: str, pixels: NDArray[np.uint8], on_image: OnImage) -> None:
        """Save an image, uint8 pixels [H, W, 3], in the store and in the folder."""
        # Existing images of the same key in the folder are kept, and not counted again.
        images = [image for image in self._by_key[key] if self._folder.image_path(image.path) not in self.reused]
        output: Mapping[str, Any] = self._plan.recipe.variants[images[0].variant].output
        picture = encode(pixels, output["format"], output["quality"])
        # Another process may have stored this image first; then that image is used.
        found = self._folder.store.put(self._record(key, picture), picture.data)
        if found.image.pixel_sha256 == picture.pixel_sha256:
            write_thumbnail(self._folder.path, picture.pixel_sha256, pixels)
        entries = [self._write(image, found.image, found.data) for image in images]
        self._folder.journal.append(entries)
        now = time.monotonic()
        self._seconds[entries[0].path], self._last = now - self._last, now
        for entry in entries:
            self._made.append(entry.path)
            on_image(entry.path)

    def finish(self) -> Manifest:
        """Write the documents of a run that has all its images; it is complete once it is sealed."""
        return self._summarise(None)

    def has_telemetry(self) -> bool:
        """Whether any invocation is recorded."""
        return bool(read_telemetry(self._folder.path / TELEMETRY))

    def fail(self, problem: Problem) -> Manifest:
        """Write the documents of a run that stopped at `problem`."""
        return self._summarise(Failure(code=problem.code, message=problem.message, line=problem.line or None))

    def note_making(self, seconds: Mapping[str, float], host: Mapping[str, Json], warnings: Sequence[str]) -> None:
        """Record the seconds of each phase, the host and the warnings of this invocation."""
        invocation = Invocation(
            started=self._started.isoformat(timespec="seconds"),
            made=len(self._made),
            reused=len(self._plan.images) - len(self._made),
            seconds=seconds,
            image_seconds=self._seconds,
            host=host,
            warnings=warnings,
        )
        append_telemetry(self._folder.path / TELEMETRY, invocation)

    def _record(self, key: str, picture: EncodedImage) -> StoredImage:
        if self._environment is None:
            raise AssertionError("BUG: an image was made before the environment was set")
        return stored_image(picture, key, self._environment, inputs_of(self._plan.graph, key))

    def _write(self, image: PlannedImage, stored: StoredImage, data: bytes) -> JournalEntry:
        text = parameters_text(self._describer.generation(image, stored.width, stored.height))
        metadata = Metadata(parameters=text, plan_digest=self._plan.digest, recipe=self._carrier.text(image))
        described = add_metadata(data, stored.format, metadata)
        # Not flushed to the disk: the store's copy is, and a lost file is written again from there.
        file_sha256 = self._folder.write_image(image.path, described, durable=False)
        entry = JournalEntry(
            path=self._folder.image_path(image.path),
            node_key=image.key,
            file_sha256=file_sha256,
            pixel_sha256=stored.pixel_sha256,
            size=len(described),
            width=stored.width,
            height=stored.height,
            environment=stored.environment,
        )
        self._entries[entry.path] = entry
        return entry

    def _summarise(self, failure: Failure | None) -> Manifest:
        return write_summary(
            self._document,
            self._overrides,
            self._plan,
            self._folder,
            self._entries,
            environment=self._environment,
            failure=failure,
        )
