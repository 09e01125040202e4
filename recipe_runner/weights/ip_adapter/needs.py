"""What an IP-Adapter must be shown: pictures for its image encoder, embeddings of faces, or both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from recipe_runner.weights.image_embeds import Embeds, read_as
from recipe_runner.weights.ip_adapter.layout import IpAdapterLayout
from recipe_runner.weights.modules import Shape
from recipe_runner.weights.problems import misfit

Features = Literal["image_embeds", "hidden_states"]
"""What is read of the image encoder: its projected embedding, or the hidden states before its last layer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """What an adapter is shown for one prompt, checked.

    Attributes:
        count: how many images or faces.
        features: what the image encoder is asked for; None where it is not asked.
        faces: whether faces must be found in the pictures first.
        patches: whether an embedding that is given has a row for each patch of an image.
        negative: whether there is a counterpart for classifier-free guidance.
    """

    count: int
    features: Features | None
    faces: bool
    patches: bool
    negative: bool


def check_shown(layout: IpAdapterLayout, pictures: int, embeds: Sequence[tuple[str, Shape]], label: str) -> Shown:
    """What the adapter makes of so many `pictures`, and of embeddings given by address and shape.

    Raises:
        WeightsError: E645 the adapter needs something else; E646 an embedding is not one that it reads.
    """
    face = layout.variant in ("faceid", "faceid_plus")
    given = _embeds(layout, embeds, face=face)
    if layout.variant == "faceid_plus" and embeds and not pictures:
        message = f"{label}: {layout.name} needs a picture of the face beside its embedding"
        raise misfit("E645", message, "give `image` too: the face cut out, upright")
    if layout.variant == "faceid_plus" and embeds and given.count != pictures:
        message = f"{label}: {pictures} pictures for {given.count} face embeddings"
        raise misfit("E645", message, "give one picture for each face, in the same order")
    if layout.variant != "faceid_plus" and embeds and pictures:
        message = f"{label}: {layout.name} reads pictures or embeddings, and both are given"
        raise misfit("E645", message, "remove one of the two; only FaceID Plus needs both")
    reads_pictures = bool(pictures) and layout.variant != "faceid"
    return Shown(
        count=given.count if embeds else pictures,
        features=None if not reads_pictures else "hidden_states" if layout.reads_hidden_states else "image_embeds",
        faces=face and not embeds,
        patches=layout.reads_hidden_states and not face,
        # Nothing is as far from a face, and from a projected embedding, as zeros; hidden states have no such point.
        negative=given.negative or reads_pictures or layout.variant in ("base", "faceid"),
    )


def _embeds(layout: IpAdapterLayout, embeds: Sequence[tuple[str, Shape]], *, face: bool) -> Embeds:
    width = layout.face_width if face else layout.image_width
    patches = layout.reads_hidden_states and not face
    read = [read_as(shape, width or 0, patches=patches, shown=address) for address, shape in embeds]
    negative = {each.negative for each in read}
    if len(negative) > 1:
        raise misfit("E646", f"{embeds[0][0]} and the others: some hold negative embeddings and some do not")
    return Embeds(sum(each.count for each in read), negative == {True})
