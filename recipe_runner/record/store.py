"""The image store beside the runs: pictures addressed by node key, shared by every run of every recipe.

A picture lies in `<2 hex>/<node key>.<format>` and its record in `<node key>.json`. The record is written last and
says what the picture's bytes must be, so a picture without its record, a record without its picture, and a pair that
do not agree are all the same as no picture. The record is proved like the picture, by a digest of its own. Pictures in
the store are bare: what depends on the run that asks (its `parameters` text and plan digest) is added to the run's own
copy by `recipe_runner.images.metadata`.
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
from recipe_runner.record.environment import Environment

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from recipe_runner.images.encode import Picture

_KEY = re.compile(r"[0-9a-f]{64}")
_FORMAT = re.compile(r"[a-z]{1,8}")
_RECORD_BYTES = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredImage:
    """What is known of one picture in the store.

    `file_sha256` and `size` (bytes) are of the bare file, `pixel_sha256` of its pixels (`picture.pixel_sha256`).
    `environment` is the environment that made it, as the manifest writes it; `inputs` is everything that decided it, by
    name, so that a later plan can say what of it has changed.
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
    picture: Picture, node_key: str, environment: Mapping[str, Json], inputs: Mapping[str, Json]
) -> StoredImage:
    """The store's record of a picture as the image of `node_key`."""
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
    """A picture of the store, verified: its record and its bytes."""

    image: StoredImage
    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Absent:
    """No picture of the store, and why, in a person's words; `damaged` when something was there."""

    reason: str
    damaged: bool = False


NOT_MADE = Absent(reason="not made yet")


class Store:
    """The image store in `root`; nothing is made on disk before the first `put`."""

    def __init__(self, root: Path) -> None:
        """Use the folder `root`, usually `runs/store`."""
        self.root = root

    def path(self, node_key: str, suffix: str) -> Path:
        """Where a file of `node_key` lies, whether or not it exists."""
        if not _KEY.fullmatch(node_key) or not _FORMAT.fullmatch(suffix):
            message = f"BUG: no place in the store for {node_key!r}, {suffix!r}"
            raise AssertionError(message)
        return self.root / node_key[:2] / f"{node_key}.{suffix}"

    def keys(self) -> frozenset[str]:
        """Every node key that has a record, whole or not: for asking after many at once."""
        folders = [entry for entry in _entries(self.root) if entry.is_dir()]
        names = (entry.name for folder in folders for entry in _entries(folder.path))
        return frozenset(name.removesuffix(".json") for name in names if name.endswith(".json"))

    def look_up(self, node_key: str) -> StoredImage | Absent:
        """The record of `node_key`, and a picture of the size it says: cheap, for plans. Bytes are not read."""
        record = self._read_record(node_key)
        if isinstance(record, Absent):
            return record
        try:
            size = self.path(node_key, record.format).stat().st_size
        except OSError as error:
            return Absent(reason=f"the stored picture is missing ({error.strerror})", damaged=True)
        if size != record.size:
            return Absent(reason=f"the stored picture has {size} bytes instead of {record.size}", damaged=True)
        return record

    def get(self, node_key: str) -> Found | Absent:
        """The picture of `node_key`, its bytes verified by their sha256; anything wrong with it makes it absent."""
        record = self.look_up(node_key)
        if isinstance(record, Absent):
            return record
        try:
            data = self.path(node_key, record.format).read_bytes()
        except OSError as error:
            return Absent(reason=f"the stored picture cannot be read ({error.strerror})", damaged=True)
        if hashlib.sha256(data).hexdigest() != record.file_sha256:
            return Absent(reason="the stored picture is not the one that was stored (sha256 differs)", damaged=True)
        return Found(image=record, data=data)

    def put(self, image: StoredImage, data: bytes) -> Found:
        """Store the bare picture `data` under `image.node_key`, once; returns what then stands there.

        A whole picture that stands there already is kept and returned, so that of two processes that made the same node
        the first one wins, also where another environment gave it other pixels; a damaged one is replaced.

        Raises:
            RecordError: E801 when it cannot be written; what was there before is then still there. E805 when a symbolic
                link leads out of the store.
        """
        if len(data) != image.size or hashlib.sha256(data).hexdigest() != image.file_sha256:
            message = f"BUG: the record of {image.node_key} is not of these bytes"
            raise AssertionError(message)
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
                return Absent(reason="an older version stored it, without a digest that proves its record")
            record = image_from(tree)
        except ValueError as error:
            return Absent(reason=f"the stored record is broken ({error})", damaged=True)
        if record.node_key != node_key:
            return Absent(reason="the stored record is of another picture", damaged=True)
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
    """The record that a JSON object holds.

    Raises:
        ValueError: it is not one, or not as it was written.
    """
    record = proved(tree)
    if record.keys() != _FIELDS.keys():
        message = "it has other keys"
        raise ValueError(message)
    image = StoredImage(**record)
    texts = (image.node_key, image.file_sha256, image.pixel_sha256)
    numbers = (image.size, image.width, image.height)
    if (
        not all(isinstance(text, str) and _KEY.fullmatch(text) for text in texts)
        or not all(type(number) is int and number > 0 for number in numbers)
        or not (isinstance(image.format, str) and _FORMAT.fullmatch(image.format))
        or not isinstance(image.inputs, dict)
    ):
        message = "a value has another type"
        raise ValueError(message)
    try:
        Environment.model_validate(image.environment)
    except ValidationError as error:
        message = "its environment is not one"
        raise ValueError(message) from error
    return image
