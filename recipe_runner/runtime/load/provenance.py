"""Follow tensors through a conversion, to know which tensors of a file each converted one was made from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch


class _Followed(torch.Tensor):
    """A tensor that remembers the names of the tensors it was made from; slices, joins and copies inherit them."""

    origins: tuple[str, ...] = ()

    @classmethod
    def __torch_function__(
        cls, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = super().__torch_function__(function, types, args, kwargs or {})  # type: ignore[no-untyped-call]
        read = _followed((*args, *(kwargs or {}).values()))
        names = tuple(dict.fromkeys(name for each in read for name in each.origins))
        for each in _followed((result,)):
            each.origins = names
        return result


def follow(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The same tensors (no copies), each of which remembers its name through what is made of it."""
    found: dict[str, torch.Tensor] = {}
    for name, tensor in tensors.items():
        followed = tensor.as_subclass(_Followed)
        followed.origins = (name,)
        found[name] = followed
    return found


def origins(tensor: torch.Tensor) -> tuple[str, ...]:
    """Names of the followed tensors that `tensor` was made from; empty when it was made from none."""
    return tensor.origins if isinstance(tensor, _Followed) else ()


def plain(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor itself, no longer followed."""
    return tensor.as_subclass(torch.Tensor) if isinstance(tensor, _Followed) else tensor


def _followed(values: Iterable[Any]) -> Iterator[_Followed]:
    for value in values:
        if isinstance(value, _Followed):
            yield value
        elif isinstance(value, (list, tuple)):
            yield from _followed(value)
