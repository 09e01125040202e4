"""The image store beside the runs: images addressed by node key, shared by every run of every recipe.

The file of an image is `<2 hex>/<node key>.<format>` and its record `<node key>.json`. The record is written last and
has the digest of the image file, so an image without a record, a record without an image, and a pair that does not
match all count as missing. The record has a digest of its own. Images in the store have no metadata: the `parameters`
text and plan digest depend on the run, and `recipe_runner.images.metadata` adds them to the run's own copy.
"""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from pydantic import ValidationError

from recipe_runner.canonical import RECORD_DIGEST, Json, canonical, parse_json, proved, with_digest
from recipe_runner.disk.atomic import make_folder, remove_leftovers, write_file
from recipe_runner.disk.inside import inside
from recipe_runner.disk.lock import hold_lock
from recipe_runner.record.environment import Environment, are_counts, are_digests

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from recipe_runner.images.encode import EncodedImage

_KEY = re.compile(r"[0-9a-f]{64}")
_FORMAT = re.compile(r"[a-z]{1,8}")
_RECORD_BYTES = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredImage:
    """The record of one image in the store.

    `file_sha256` and `size` (bytes) are of the bare file, `pixel_sha256` of its pixels (`picture.pixel_sha256`).
    `environment` is the environment that made it, as the manifest writes it; `inputs` are all its inputs by name, so
    that a later plan can report which of them changed.
    """

    node_key: str
    file_sha256: str
    pixel_sha256: str
    size: int
    format: str
    width: int
    height: int
    environment: Mapping[str, Json]
    inputs: Mapping[str, Json]


def stored_image(
    picture: EncodedImage, node_key: str, environment: Mapping[str, Json], inputs: Mapping[str, Json]
) -> StoredImage:
    """The store's record of an encoded image with this `node_key`."""
    return StoredImage(
        node_key=node_key,
        file_sha256=hashlib.sha256(picture.data).hexdigest(),
        pixel_sha256=picture.pixel_sha256,
        size=len(picture.data),
        format=picture.format,
        width=picture.width,
        height=picture.height,
        environment=environment,
        inputs=inputs,
    )


_FIELDS = dict.fromkeys(field.name for field in fields(StoredImage))


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A verified image of the store: its record and its bytes."""

    image: StoredImage
    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Absent:
    """A missing image and the reason, for people; `damaged` if the store has an unusable file of it."""

    reason: str
    damaged: bool = False


NOT_MADE = Absent(reason="not made yet")


class Store:
    """The image store in `root`; the first `put` makes the folder."""

    def __init__(self, root: Path) -> None:
        """Use the folder `root`, usually `runs/store`."""
        self.root = root

    def path(self, node_key: str, suffix: str) -> Path:
        """The path of a file of `node_key`, which may not exist."""
        if not _KEY.fullmatch(node_key) or not _FORMAT.fullmatch(suffix):
            raise AssertionError(f"BUG: no place in the store for {node_key!r}, {suffix!r}")
        return self.root / node_key[:2] / f"{node_key}.{suffix}"

    def keys(self) -> frozenset[str]:
        """Every node key that has a record, valid or not: faster than many calls of `look_up`."""
        found: set[str] = set()
        for folder in _entries(self.root):
            if not folder.is_dir():
                continue
            for entry in _entries(folder.path):
                if entry.name.endswith(".json"):
                    found.add(entry.name.removesuffix(".json"))
        return frozenset(found)

    def look_up(self, node_key: str) -> StoredImage | Absent:
        """The record of `node_key`, if the image file has the right size. Cheap: does not read the image, for plans."""
        record = self._read_record(node_key)
        if isinstance(record, Absent):
            return record
        try:
            size = self.path(node_key, record.format).stat().st_size
        except OSError as error:
            return Absent(reason=f"the stored image is missing ({error.strerror})", damaged=True)
        if size != record.size:
            return Absent(reason=f"the stored image has {size} bytes instead of {record.size}", damaged=True)
        return record

    def get(self, node_key: str) -> Found | Absent:
        """The image of `node_key`, verified by its sha256; an invalid image counts as absent."""
        record = self.look_up(node_key)
        if isinstance(record, Absent):
            return record
        try:
            data = self.path(node_key, record.format).read_bytes()
        except OSError as error:
            return Absent(reason=f"the stored image cannot be read ({error.strerror})", damaged=True)
        if hashlib.sha256(data).hexdigest() != record.file_sha256:
            return Absent(reason="the stored image was changed (sha256 differs)", damaged=True)
        return Found(image=record, data=data)

    def put(self, image: StoredImage, data: bytes) -> Found:
        """Store the bare image `data` under `image.node_key`, and return the stored image.

        An existing valid image is kept and returned: if two processes make the same node, the first one wins, even if
        the second has other pixels from another environment. A damaged image is replaced.

        Raises:
            RecordError: E801, it cannot be written, and an older file is unchanged; E805, a symbolic link leads out of
                the store.
        """
        if len(data) != image.size or hashlib.sha256(data).hexdigest() != image.file_sha256:
            raise AssertionError(f"BUG: the record of {image.node_key} does not match these bytes")
        picture = self.path(image.node_key, image.format)
        record = self.path(image.node_key, "json")
        inside(self.root, picture.parent.name)
        make_folder(picture.parent)
        with hold_lock(picture.parent / ".lock", wait=True):
            standing = self.get(image.node_key)
            if isinstance(standing, Found):
                return standing
            remove_leftovers(picture.parent)
            write_file(picture, data)
            write_file(record, canonical(with_digest(_tree(image))) + b"\n")
        return Found(image=image, data=data)

    def _read_record(self, node_key: str) -> StoredImage | Absent:
        path = self.path(node_key, "json")
        try:
            with path.open("rb") as file:
                data = file.read(_RECORD_BYTES)
        except FileNotFoundError:
            return NOT_MADE
        except OSError as error:
            return Absent(reason=f"the store cannot be read ({error.strerror})", damaged=True)
        try:
            tree = parse_json(data)
            if isinstance(tree, dict) and RECORD_DIGEST not in tree:
                return Absent(reason="an older version stored it, without a digest of its record")
            record = image_from(tree)
        except ValueError as error:
            return Absent(reason=f"the stored record is broken ({error})", damaged=True)
        if record.node_key != node_key:
            return Absent(reason="the stored record is of another image", damaged=True)
        return record


def _entries(folder: Path | str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError:
        return []


def _tree(image: StoredImage) -> dict[str, Json]:
    # A mapping of any kind is written as an object.
    tree: dict[str, Json] = {name: getattr(image, name) for name in _FIELDS}
    return tree | {"environment": dict(image.environment), "inputs": dict(image.inputs)}


def image_from(tree: object) -> StoredImage:
    """The record in a JSON object.

    Raises:
        ValueError: it is not a record, or was changed.
    """
    record = proved(tree)
    if record.keys() != _FIELDS.keys():
        raise ValueError("it has other keys")
    image = StoredImage(**record)
    texts = (image.node_key, image.file_sha256, image.pixel_sha256)
    numbers = (image.size, image.width, image.height)
    is_format = isinstance(image.format, str) and _FORMAT.fullmatch(image.format)
    if not is_format or not isinstance(image.inputs, dict) or not are_digests(texts) or not are_counts(numbers):
        raise ValueError("a value has another type")
    try:
        Environment.model_validate(image.environment)
    except ValidationError as error:
        raise ValueError("its environment is not valid") from error
    return image
