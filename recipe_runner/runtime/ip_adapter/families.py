"""Where the denoiser of each family takes IP-Adapters: the modules, as diffusers' mixins put them in their places.

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
        """The processor of the attention called `module`, with the layers of several IP-Adapters in this order."""

    def attach(self, denoiser: Any, projections: Sequence[Any]) -> Callable[[], None]:
        """Put the projections into a denoiser that has none; what is returned takes them out, and leaves nothing."""

    def scale(self, processor: Any, scales: Sequence[float]) -> None:
        """Set the scale of each IP-Adapter in an attention."""

    def arguments(self, shown: Sequence[Sequence[EmbeddingPair]], like: Any, *, guided: bool) -> dict[str, Any]:
        """Arguments of the pipeline's call: for each IP-Adapter what each image of a batch is shown.

        `like` is the denoiser, whose device and data type count. None of it is repeated for a batch: it is whole.
        """


BACKENDS: Mapping[str, IpAdapterBackend] = {UNET.name: UNetBackend(), FLUX.name: FluxBackend(), SD3.name: Sd3Backend()}
"""By the family's name."""


def backend_of(pipeline: Any) -> tuple[AdapterFamily, IpAdapterBackend] | None:
    """The family of a pipeline and its row; None where IP-Adapters are not applied to it."""
    family = family_of_pipeline(type(pipeline).__name__)
    return None if family is None else (family, BACKENDS[family.name])
