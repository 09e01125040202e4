"""Describe a pickled torch file from its zip directory and its opcodes. Nothing is unpickled.

Layouts: the zip of torch 1.6 and later (`*/data.pkl`), the five consecutive pickles of older versions, and a bare
pickle. Source: torch `serialization.py` (`_save`, `_legacy_save`), `_utils.py` (`_rebuild_tensor_v2` and others).
"""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from recipe_runner.problems.problem import WeightsError
from recipe_runner.problems.wording import some
from recipe_runner.weights.files.formats import DOWNLOAD_AGAIN, cannot_read, weights_error
from recipe_runner.weights.files.pickle_program import (
    MAX_BYTES,
    BrokenPickle,
    Call,
    Name,
    Program,
    Stored,
    read_program,
    walk,
)
from recipe_runner.weights.modules import Shape

_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_MOST_LEAVES = 200_000
_LONGEST_VALUE = 200
_WORD = 64

_STORAGES = {
    "FloatStorage": "F32", "HalfStorage": "F16", "BFloat16Storage": "BF16", "DoubleStorage": "F64",
    "LongStorage": "I64", "IntStorage": "I32", "ShortStorage": "I16", "CharStorage": "I8", "ByteStorage": "U8",
    "BoolStorage": "BOOL", "ComplexFloatStorage": "C64", "UntypedStorage": "U8", "QInt8Storage": "I8",
    "QUInt8Storage": "U8",
}  # fmt: skip
_DTYPES = {
    "float32": "F32", "float16": "F16", "bfloat16": "BF16", "float64": "F64", "int64": "I64", "int32": "I32",
    "int16": "I16", "int8": "I8", "uint8": "U8", "bool": "BOOL", "float8_e4m3fn": "F8_E4M3", "float8_e5m2": "F8_E5M2",
}  # fmt: skip
_NUMPY = {"f4": "F32", "f2": "F16", "f8": "F64", "i8": "I64", "i4": "I32", "i2": "I16", "i1": "I8", "u1": "U8",
          "b1": "BOOL"}  # fmt: skip
_PLAIN = frozenset({
    "collections.OrderedDict", "collections.defaultdict", "collections.Counter", "torch.Size",
    "torch.device", "torch.Tensor", "torch._tensor._rebuild_from_type_v2",
    "torch.nn.parameter.Parameter", "torch.nn.modules.container.ParameterDict", "numpy.dtype", "numpy.ndarray",
    "numpy.core.multiarray._reconstruct", "numpy._core.multiarray._reconstruct", "numpy.core.multiarray.scalar",
    "numpy._core.multiarray.scalar", "_codecs.encode", "builtins.dict", "builtins.set", "__builtin__.set",
    "builtins.list", "builtins.bytearray", "torch.serialization._get_layout",
})  # fmt: skip

INERT = re.compile(
    r"(?:pytorch_lightning|lightning|lightning_fabric|omegaconf)\.[\w.]+|argparse\.Namespace|typing\.Any|"
    r"pathlib\.\w*Path|numpy\.(?:_?core\.multiarray\.scalar|dtype|dtypes\.\w+)"
)
"""Names that training frameworks leave beside the weights, such as settings of callbacks and numpy numbers. Weights do
not need them, so a placeholder without behaviour is loaded instead."""


@dataclass(frozen=True, slots=True)
class PickledTensor:
    """A tensor that a pickle would build: its dtype, as safetensors names it, and its shape."""

    dtype: str
    shape: Shape


@dataclass(frozen=True, slots=True, kw_only=True)
class TorchFile:
    """A pickled torch file described.

    Attributes:
        tensors: dotted name to tensor, in the order of the file.
        values: dotted name to the short texts and numbers beside the tensors (`name`, `step`, …).
        names: every name that unpickling would import.
        foreign: those names that plain weights do not need: importing them can run code.
    """

    tensors: Mapping[str, PickledTensor]
    values: Mapping[str, str | float | bool | None]
    names: tuple[str, ...]
    foreign: tuple[str, ...]


def read_torch_file(path: Path) -> TorchFile:
    """Describe the pickled torch file at `path` without unpickling it.

    Raises:
        WeightsError: E401 or E415 the file cannot be read, E420 it is broken.
    """
    try:
        with path.open("rb") as file:
            if file.read(4) == b"PK\x03\x04":
                return described(_from_zip(file))
            size = file.seek(0, io.SEEK_END)
            file.seek(0)
            return described(_from_pickles(file, size))
    except OSError as error:
        raise cannot_read(path, error) from error
    except BrokenPickle as error:
        raise weights_error("E420", path, f"broken pickled file: {error}", DOWNLOAD_AGAIN) from error


def require_inert(foreign: Sequence[str], shown: str) -> None:
    """Raise E607 if a pickle would import more than plain tensors and `INERT` names. The error names it as `shown`."""
    unknown = [name for name in foreign if not INERT.fullmatch(name)]
    if unknown:
        message = f"{shown}: the file cannot be read with weights_only, because it contains {some(unknown)}"
        raise WeightsError.of("E607", message, "use the model's safetensors file")


def _from_zip(file: BinaryIO) -> Program:
    try:
        with zipfile.ZipFile(file) as archive:
            entry = _data_entry(archive)
            if entry is None:
                message = "its zip directory has no data.pkl"
                raise BrokenPickle(message)
            if entry.file_size > MAX_BYTES:
                message = f"its data.pkl claims {entry.file_size} bytes"
                raise BrokenPickle(message)
            with archive.open(entry) as inside:
                return read_program(io.BytesIO(inside.read(MAX_BYTES)), entry.file_size)
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, ValueError, EOFError) as error:
        message = f"its zip directory cannot be read ({error}): the file is cut short or damaged"
        raise BrokenPickle(message) from error


def _data_entry(archive: zipfile.ZipFile) -> zipfile.ZipInfo | None:
    for entry in archive.infolist():
        if entry.filename.split("/")[-1] == "data.pkl":
            return entry
    return None


def _from_pickles(file: BinaryIO, size: int) -> Program:
    """The pickle of a bare file, or the fourth of torch's old layout, after magic number, version and system."""
    program = read_program(file, size)
    if program.value != _LEGACY_MAGIC:
        return program
    names = dict.fromkeys(program.names)
    for _ in range(3):
        program = read_program(file, size - file.tell())
        names.update(dict.fromkeys(program.names))
    return Program(program.value, tuple(names))


def described(program: Program) -> TorchFile:
    """The tensors and short values of a pickle."""
    tensors: dict[str, PickledTensor] = {}
    values: dict[str, str | float | bool | None] = {}
    for name, leaf in walk(program.value, _MOST_LEAVES):
        tensor = _tensor(leaf)
        if tensor is not None:
            tensors[name] = tensor
        elif isinstance(leaf, int) and leaf.bit_length() > _WORD:
            values[name] = f"an integer of {leaf.bit_length()} bits"
        elif leaf is None or isinstance(leaf, (bool, int, float)):
            values[name] = leaf
        elif isinstance(leaf, str):
            values[name] = leaf[:_LONGEST_VALUE]
    names = tuple(dict.fromkeys(str(name) for name in program.names))
    return TorchFile(tensors=tensors, values=values, names=names, foreign=tuple(_foreign(program.names)))


def _foreign(names: tuple[Name, ...]) -> list[str]:
    return [str(name) for name in names if not _is_plain(name)]


def _is_plain(name: Name) -> bool:
    """Whether plain tensors need this name."""
    if str(name) in _PLAIN:
        return True
    if name.module == "torch._utils":
        return name.name.startswith("_rebuild")
    if name.module == "torch" and name.name in _DTYPES:
        return True
    return name.module in ("torch", "torch.storage", "torch.cuda") and name.name.endswith("Storage")


def _tensor(leaf: Any) -> PickledTensor | None:
    """The tensor that a call would rebuild; None when the call does something else."""
    if not isinstance(leaf, Call) or not isinstance(leaf.function, Name) or not isinstance(leaf.arguments, tuple):
        return None
    name, arguments = leaf.function.name, leaf.arguments
    if name in ("_rebuild_tensor", "_rebuild_tensor_v2", "_rebuild_tensor_v3", "_rebuild_qtensor"):
        return _rebuilt(arguments)
    if name == "_reconstruct" and isinstance(leaf.state, tuple):
        return _array(leaf.state)
    return _tensor(_wrapped_call(name, arguments))


def _wrapped_call(name: str, arguments: tuple[Any, ...]) -> Any:
    """The call inside a call that adds something to a tensor; None for every other call."""
    if name in ("_rebuild_parameter", "_rebuild_parameter_with_state") and arguments:
        return arguments[0]
    if name == "_rebuild_from_type_v2" and len(arguments) > 2 and isinstance(arguments[2], tuple):  # noqa: PLR2004
        return Call(arguments[0], arguments[2])
    return None


def _rebuilt(arguments: tuple[Any, ...]) -> PickledTensor | None:
    if len(arguments) < 3 or not isinstance(arguments[0], Stored) or not isinstance(arguments[0].key, tuple):  # noqa: PLR2004
        return None
    dtype = _storage_dtype(arguments[0].key)
    for argument in arguments[6:]:
        if isinstance(argument, Name) and argument.name in _DTYPES:
            dtype = _DTYPES[argument.name]
    return _tensor_of(dtype, arguments[2])


def _storage_dtype(storage: tuple[Any, ...]) -> str:
    """The dtype of a storage's persistent id ("storage", class, key, device, size)."""
    if len(storage) > 1 and isinstance(storage[1], Name):
        return _STORAGES.get(storage[1].name, "unknown")
    return "unknown"


def _array(state: tuple[Any, ...]) -> PickledTensor | None:
    """A numpy array, from its pickled state (version, shape, dtype, order, data)."""
    if len(state) < 3 or not isinstance(state[2], Call) or not isinstance(state[2].arguments, tuple):  # noqa: PLR2004
        return None
    code = str(state[2].arguments[0])[:4] if state[2].arguments else ""
    return _tensor_of(_NUMPY.get(code, "unknown"), state[1])


def _tensor_of(dtype: str, size: Any) -> PickledTensor | None:
    """A tensor; None unless `size` is a shape."""
    if isinstance(size, Call) and isinstance(size.arguments, tuple) and size.arguments:
        size = size.arguments[0]  # torch.Size((2, 768))
    if not isinstance(size, (tuple, list)):
        return None
    if not all(type(number) is int and number >= 0 for number in size):
        return None
    return PickledTensor(dtype, tuple(size))
