"""The images of one run: found in its folder or in the store, added as they are made, and recorded at the end."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from recipe_runner.canonical import Json, canonical
from recipe_runner.document.document import Document
from recipe_runner.graph.changed_inputs import inputs_of
from recipe_runner.images.encode import Picture, encode
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
"""Told the path of an image that is whole."""


IN_FOLDER, IN_STORE = "it is in the run folder", "it is in the store"
"""Where a reused image was found."""


class RunImages:
    """The images of `plan` in the run folder `folder`, whose lock the caller holds."""

    def __init__(self, document: Document, overrides: Sequence[str], plan: Plan, folder: RunFolder) -> None:
        """Make nothing on disk yet."""
        self._document, self._overrides, self._plan, self._folder = document, tuple(overrides), plan, folder
        self._describer = Describer(plan)
        self._carrier = Carrier(document, plan)
        self._entries: Entries = {}
        self.reused: dict[str, str] = {}
        """Where each image was found that was there already, by its path."""
        self._environment: Mapping[str, Json] | None = None
        self._started = datetime.now(UTC)
        self._made: list[str] = []
        self._seconds: dict[str, float] = {}
        self._last = 0.0
        self._by_key: dict[str, list[PlannedImage]] = {}
        for image in plan.images:
            self._by_key.setdefault(image.key, []).append(image)

    def is_complete(self) -> bool:
        """Whether the folder holds this very run, every image and document of it: nothing then has to be written."""
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
        wanted = {self._folder.image_path(image.path): image.key for image in self._plan.images}
        found = {image.path: image.node_key for image in manifest.images}
        return found == wanted and not any(
            self._folder.image_fault(image.path, image.file_sha256) for image in manifest.images
        )

    def collect(self) -> list[PlannedImage]:
        """Take what is made already, from the folder or from the store, and return what is not.

        Of images with one key only the first is returned.
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
                self._make_good(image, entry)
            else:
                found = self._folder.store.get(image.key)
                if isinstance(found, Absent):
                    missing.setdefault(image.key, image)
                    continue
                self.reused[path] = IN_STORE
                entry = self._write(image, found.image, found.data)
            # A file that was lost after its line was written is there again, and the line is as it was.
            if entry != written.get(path):
                fresh.append(entry)
        self._folder.journal.append(fresh)
        return list(missing.values())

    def _in_manifest(self) -> dict[str, JournalEntry]:
        """What the manifest of a complete run says of the images that are there: the journal may be lost."""
        manifest = standing_manifest(self._folder.path)
        found: dict[str, JournalEntry] = {}
        for image in manifest.images if manifest else ():
            file = self._folder.path / image.path
            if manifest is None or not file.is_file():
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

    def _make_good(self, image: PlannedImage, entry: JournalEntry) -> None:
        """Put an image of the folder into the store again whose record there is damaged, or of an older version.

        Where its file keeps every pixel, which proves that it is the one that was made.
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
        """Images are made from here on, in this environment."""
        # In the order in which the store gives it back, so that a manifest does not tell which of the two it came from.
        self._environment = json.loads(canonical(environment))
        self._last = time.monotonic()

    def add(self, key: str, pixels: NDArray[np.uint8], on_image: OnImage) -> None:
        """Keep a picture: uint8 pixels [H, W, 3]. It is in the store and in the folder, whole, when this returns."""
        # An image of the same key that is in the folder already stays, and is not counted again.
        images = [image for image in self._by_key[key] if self._folder.image_path(image.path) not in self.reused]
        output: Mapping[str, Any] = self._plan.recipe.variants[images[0].variant].output
        picture = encode(pixels, output["format"], output["quality"])
        # Another process may have stored this image first: then its picture is the one that counts.
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
        """Write the documents of a run all of whose images are there; it is complete once it is sealed."""
        return self._summarise(None)

    def has_telemetry(self) -> bool:
        """Whether any invocation is noted."""
        return bool(read_telemetry(self._folder.path / TELEMETRY))

    def fail(self, problem: Problem) -> Manifest:
        """Write the documents of a run that stopped at `problem`."""
        return self._summarise(Failure(code=problem.code, message=problem.message, line=problem.line or None))

    def note_making(self, seconds: Mapping[str, float], host: Mapping[str, Json], warnings: Sequence[str]) -> None:
        """Note how long each phase of the making took, in seconds, on what host, and what was only worth a warning."""
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

    def _record(self, key: str, picture: Picture) -> StoredImage:
        if self._environment is None:
            message = "BUG: an image was made before the environment was told"
            raise AssertionError(message)
        return stored_image(picture, key, self._environment, inputs_of(self._plan.graph, key))

    def _write(self, image: PlannedImage, stored: StoredImage, data: bytes) -> JournalEntry:
        text = parameters_text(self._describer.generation(image, stored.width, stored.height))
        told = Metadata(parameters=text, plan_digest=self._plan.digest, recipe=self._carrier.text(image))
        described = add_metadata(data, stored.format, told)
        # Not flushed to the disk one by one: the store's copy is, and what is lost here is written again from there.
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
