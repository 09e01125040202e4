"""The boundary of an operation: what torch, diffusers and the system raise becomes a problem a person can act on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from recipe_runner.problems.problem import OperationFailed, RecipeRunnerError
from recipe_runner.runtime.device.environment import quiet

_MEMORY_WORDS = ("can't allocate memory", "not enough memory", "out of memory", "CUBLAS_STATUS_ALLOC_FAILED")


@contextmanager
def operation(name: str) -> Iterator[None]:
    """Run a block as the operation called `name`, quietly.

    Raises:
        OperationFailed: E703 when memory ran out, E704 for anything else that a library raised.
    """
    try:
        with quiet():
            yield
    except RecipeRunnerError:
        raise
    except (torch.OutOfMemoryError, MemoryError) as cause:
        raise _out_of_memory(name, str(cause)) from cause
    except Exception as cause:
        # The operation boundary: the libraries raise anything, from KeyError to RuntimeError, for a thousand reasons.
        if any(words in str(cause) for words in _MEMORY_WORDS):
            raise _out_of_memory(name, str(cause)) from cause
        said = str(cause).strip().splitlines()
        message = f"{name} failed: {type(cause).__name__}: {said[0] if said else 'no reason given'}"
        raise OperationFailed.of("E704", message) from cause


def _out_of_memory(name: str, said: str) -> RecipeRunnerError:
    first = said.strip().splitlines()[0] if said.strip() else "no details"
    return OperationFailed.of(
        "E703",
        f"{name} ran out of memory ({first})",
        "make the images smaller, set base.dtype: float16 on a GPU, lower runtime.batch_size, "
        "or free the device of other programs",
    )
