"""How the denoisers of each family hold IP-Adapters: the same modules in the same places as by diffusers' mixins.

The table has a row for each family of `recipe_runner.weights.ip_adapter`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from recipe_runner.runtime.ip_adapter.encode import EmbeddingPair
from recipe_runner.runtime.ip_adapter.flux import FluxBackend
from recipe_runner.runtime.ip_adapter.projection import Built
from recipe_runner.runtime.ip_adapter.sd3 import Sd3Backend
from recipe_runner.runtime.ip_adapter.unet import UNetBackend
from recipe_runner.weights.ip_adapter import AdapterFamily, IpAdapterLayout, family_of_pipeline
from recipe_runner.weights.ip_adapter.families import FLUX, SD3, UNET


class IpAdapterBackend(Protocol):
    """How the denoisers of a family hold IP-Adapters."""

    def projection(self, layout: IpAdapterLayout) -> Any:
        """The image projection of a file, of diffusers' class, without values."""

    def processor(self, built: Sequence[Built], module: str) -> Any:
        """The processor of the attention called `module`, with the layers of all IP-Adapters in this order."""

    def attach(self, denoiser: Any, projections: Sequence[Any]) -> Callable[[], None]:
        """Attach the projections to a denoiser without any; the function that it returns detaches them completely."""

    def scale(self, processor: Any, scales: Sequence[float]) -> None:
        """Set the scale of each IP-Adapter in an attention."""

    def arguments(self, shown: Sequence[Sequence[EmbeddingPair]], like: Any, *, guided: bool) -> dict[str, Any]:
        """Arguments of the pipeline's call, from the embeddings for each IP-Adapter and each image of a batch.

        They have the device and data type of `like`, the denoiser, and already cover the whole batch.
        """


BACKENDS: Mapping[str, IpAdapterBackend] = {UNET.name: UNetBackend(), FLUX.name: FluxBackend(), SD3.name: Sd3Backend()}
"""By the family's name."""


def backend_of(pipeline: Any) -> tuple[AdapterFamily, IpAdapterBackend] | None:
    """The family of a pipeline and its backend; None if IP-Adapters are not supported for it."""
    family = family_of_pipeline(type(pipeline).__name__)
    if family is None:
        return None
    return family, BACKENDS[family.name]
