"""What an IP-Adapter must be shown: pictures for its image encoder, embeddings of faces, or both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from recipe_runner.problems.problem import WeightsError
from recipe_runner.weights.files.image_embeds import Embeds, read_as
from recipe_runner.weights.ip_adapter.families import Guidance
from recipe_runner.weights.ip_adapter.layout import IpAdapterLayout
from recipe_runner.weights.ip_adapter.variants import Features
from recipe_runner.weights.modules import Shape


@dataclass(frozen=True, slots=True, kw_only=True)
class ImagePromptShape:
    """What an adapter is shown for one prompt, checked.

    Attributes:
        count: how many images or faces.
        features: what the image encoder is asked for; None where it is not asked.
        faces: whether faces must be found in the pictures first.
        patches: whether an embedding that is given has a row for each patch of an image.
        negative: whether there is a counterpart for classifier-free guidance.
        paired: whether a given array of one dimension more than one image's is a negative and positive embedding.
        guidance: the sampling argument by which images are guided, and need the counterpart.
    """

    count: int
    features: Features | None
    faces: bool
    patches: bool
    negative: bool
    paired: bool = False
    guidance: Guidance = "guidance_scale"


def check_image_prompt(
    layout: IpAdapterLayout, pictures: int, embeds: Sequence[tuple[str, Shape]], label: str
) -> ImagePromptShape:
    """What the adapter makes of so many `pictures`, and of embeddings given by address and shape.

    Raises:
        WeightsError: E645 the adapter needs something else; E646 an embedding is not one that it reads.
    """
    face = layout.variant in ("faceid", "faceid_plus")
    given = _embeds(layout, embeds, face=face)
    if layout.variant == "faceid_plus" and embeds and not pictures:
        message = f"{label}: {layout.name} needs a picture of the face beside its embedding"
        raise WeightsError.of("E645", message, "give `image` too: the face cut out, upright")
    if layout.variant == "faceid_plus" and embeds and given.count != pictures:
        message = f"{label}: {pictures} pictures for {given.count} face embeddings"
        raise WeightsError.of("E645", message, "give one picture for each face, in the same order")
    if layout.variant != "faceid_plus" and embeds and pictures:
        message = f"{label}: {layout.name} reads pictures or embeddings, and both are given"
        raise WeightsError.of("E645", message, "remove one of the two; only FaceID Plus needs both")
    reading = layout.reading if pictures else None
    return ImagePromptShape(
        count=given.count if embeds else pictures,
        features=None if reading is None else layout.features,
        faces=face and not embeds,
        patches=layout.reads_hidden_states and not face,
        # Nothing is as far from a face as zeros; what the image encoder makes of nothing has no such point, unless the
        # pipelines say so.
        negative=given.negative or reading is not None or _away_from_zeros(layout),
        paired=_paired(layout),
        guidance=layout.family.guidance,
    )


def _away_from_zeros(layout: IpAdapterLayout) -> bool:
    return layout.reading is None or layout.reading.zeros


def _paired(layout: IpAdapterLayout) -> bool:
    return layout.reading is not None and layout.reading.paired


def _embeds(layout: IpAdapterLayout, embeds: Sequence[tuple[str, Shape]], *, face: bool) -> Embeds:
    width = layout.face_width if face else layout.image_width
    patches = layout.reads_hidden_states and not face
    read = [
        read_as(shape, width or 0, patches=patches, paired=_paired(layout), shown=address) for address, shape in embeds
    ]
    negative = {each.negative for each in read}
    if len(negative) > 1:
        raise WeightsError.of("E646", f"{embeds[0][0]} and the others: some hold negative embeddings and some do not")
    return Embeds(sum(each.count for each in read), negative == {True})
