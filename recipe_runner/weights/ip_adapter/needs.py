"""What an IP-Adapter reads for a prompt: images for its image encoder, embeddings of faces, or both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from recipe_runner.problems.problem import WeightsError
from recipe_runner.weights.files.image_embeds import Embeds, read_as
from recipe_runner.weights.ip_adapter.layout import IpAdapterLayout
from recipe_runner.weights.ip_adapter.variants import Features
from recipe_runner.weights.modules import Shape


@dataclass(frozen=True, slots=True, kw_only=True)
class ImagePromptShape:
    """What an adapter reads for one prompt, checked.

    Attributes:
        count: how many images or faces.
        features: which output of the image encoder the adapter reads; None where it reads none.
        faces: whether faces must be found in the images first.
        patches: whether a given embedding has a row for each patch of an image.
        negative: whether there is a negative embedding for classifier-free guidance.
        paired: whether a given array of one dimension more than one image's is a negative and positive embedding.
    """

    count: int
    features: Features | None
    faces: bool
    patches: bool
    negative: bool
    paired: bool = False


def check_image_prompt(
    layout: IpAdapterLayout, images: int, embeds: Sequence[tuple[str, Shape]], label: str
) -> ImagePromptShape:
    """What the adapter reads from `images` images, and from embeddings given by address and shape.

    Raises:
        WeightsError: E645 the adapter needs something else; E646 an embedding is not one that it reads.
    """
    face = layout.variant in ("faceid", "faceid_plus")
    given = _embeds(layout, embeds, face=face)
    if embeds:
        _check_images(layout, images, given.count, label)
    features = layout.features if images else None
    # A negative face embedding is zeros. The negative of an image is what the encoder makes of an empty one, which a
    # file of embeddings lacks, unless the pipelines use zeros there too.
    away_from_zeros = layout.reading is None or layout.reading.zeros
    return ImagePromptShape(
        count=given.count if embeds else images,
        features=features,
        faces=face and not embeds,
        patches=layout.reads_hidden_states and not face,
        negative=given.negative or features is not None or away_from_zeros,
        paired=_paired(layout),
    )


def _check_images(layout: IpAdapterLayout, images: int, faces: int, label: str) -> None:
    """Next to embeddings, FaceID Plus needs one image for each, and other adapters read no images."""
    if layout.variant != "faceid_plus":
        if images:
            message = f"{label}: {layout.name} reads images or embeddings, and both are given"
            raise WeightsError.of("E645", message, "remove one of the two; only FaceID Plus needs both")
    elif not images:
        message = f"{label}: {layout.name} needs an image of the face as well as its embedding"
        raise WeightsError.of("E645", message, "give `image` too: the face cut out, upright")
    elif images != faces:
        message = f"{label}: {images} images for {faces} face embeddings"
        raise WeightsError.of("E645", message, "give one image for each face, in the same order")


def _paired(layout: IpAdapterLayout) -> bool:
    return layout.reading is not None and layout.reading.paired


def _embeds(layout: IpAdapterLayout, embeds: Sequence[tuple[str, Shape]], *, face: bool) -> Embeds:
    width = layout.face_width if face else layout.image_width
    patches, paired = layout.reads_hidden_states and not face, _paired(layout)
    count = 0
    negative: set[bool] = set()
    for address, shape in embeds:
        read = read_as(shape, width or 0, patches=patches, paired=paired, shown=address)
        count += read.count
        negative.add(read.negative)
    if len(negative) > 1:
        raise WeightsError.of("E646", f"{embeds[0][0]} and the others: some hold negative embeddings and some do not")
    return Embeds(count, negative == {True})
