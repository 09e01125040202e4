"""Describe a pickle without running it: what it would import and call, and the data that it would build.

The standard library's `pickletools` lists the opcodes. An import becomes a `Name`, a call becomes a `Call`. Nothing in
the file is executed, imported or looked up.
"""

from __future__ import annotations

import pickletools
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, BinaryIO

MAX_BYTES = 64_000_000
"""Size of the largest pickle that is read. The pickle of a checkpoint with 3,000 tensors has 400,000 bytes."""
MAX_OPCODES = 3_000_000
_MARK = object()


class BrokenPickle(Exception):
    """What is wrong with a pickle."""


@dataclass(frozen=True, slots=True)
class Name:
    """A name that the pickle would import."""

    module: str
    name: str

    def __str__(self) -> str:
        """`module.name`."""
        return f"{self.module}.{self.name}"


@dataclass(frozen=True, slots=True)
class Stored:
    """Data stored outside the pickle, by its persistent id."""

    key: Any


@dataclass(slots=True, eq=False)
class Call:
    """A call that the pickle would make: the function, its arguments, and what it puts into the result."""

    function: Any
    arguments: Any
    state: Any = None
    items: dict[Any, Any] = field(default_factory=dict)
    appended: list[Any] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Program:
    """A pickle described: the data it would build, and every name it would import, once each and in order."""

    value: Any
    names: tuple[Name, ...]


class _Bounded:
    """A file of which at most `limit` bytes can be read, so that a false length does no harm."""

    def __init__(self, file: BinaryIO, limit: int) -> None:
        self._file = file
        self._left = limit
        self._limit = limit

    def read(self, count: int = -1) -> bytes:
        if count < 0 or count > self._left:
            message = "it is too large to be weights"
            if self._left < MAX_BYTES:
                message = "it is cut short"
            raise BrokenPickle(message)
        data = self._file.read(count)
        self._left -= len(data)
        return data

    def readline(self) -> bytes:
        data = self._file.readline(self._left)
        self._left -= len(data)
        return data

    def tell(self) -> int:
        return self._limit - self._left


def read_program(file: BinaryIO, size: int) -> Program:
    """Describe the pickle at the current position of `file`, which has `size` bytes left. Reads only that pickle.

    Raises:
        BrokenPickle: it is cut short, damaged or too large.
    """
    machine = _Machine()
    reader: Any = _Bounded(file, min(size, MAX_BYTES))
    number = 0
    try:
        for opcode, argument, _ in pickletools.genops(reader):
            machine.step(opcode.name, argument)
            number += 1
            if number > MAX_OPCODES:
                break
    except (ValueError, IndexError, KeyError, TypeError, UnicodeError, OverflowError, MemoryError) as error:
        message = f"its pickle is damaged or cut short ({error or type(error).__name__})"
        raise BrokenPickle(message) from error
    if number > MAX_OPCODES:
        message = f"its pickle has more than {MAX_OPCODES} opcodes"
        raise BrokenPickle(message)
    return Program(machine.result(), tuple(machine.names))


class _Machine:
    """The stack and memo of the pickle virtual machine, with descriptions instead of objects."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self.names: dict[Name, None] = {}

    def step(self, opcode: str, argument: Any) -> None:
        """Execute one opcode: by its own method, else by pushing its argument or a constant, else not at all."""
        handler = getattr(self, f"_{opcode.lower()}", None)
        if handler is not None:
            handler(argument)
        elif opcode in _PUSHING:
            self.stack.append(argument)
        elif opcode in _CONSTANTS:
            self.stack.append(_CONSTANTS[opcode])
        elif opcode not in _SILENT:
            message = f"its pickle has the unknown opcode {opcode}"
            raise BrokenPickle(message)

    def result(self) -> Any:
        """What is on top of the stack."""
        return self.stack.pop() if self.stack else None

    def _since_mark(self) -> list[Any]:
        place = len(self.stack) - 1
        while self.stack[place] is not _MARK:
            place -= 1
            if place < 0:
                message = "a mark is missing"
                raise ValueError(message)
        taken = self.stack[place + 1 :]
        del self.stack[place:]
        return taken

    def _mark(self, _: Any) -> None:
        self.stack.append(_MARK)

    def _pop(self, _: Any) -> None:
        self.stack.pop()

    def _pop_mark(self, _: Any) -> None:
        self._since_mark()

    def _dup(self, _: Any) -> None:
        self.stack.append(self.stack[-1])

    def _empty_list(self, _: Any) -> None:
        self.stack.append([])

    def _empty_dict(self, _: Any) -> None:
        self.stack.append({})

    _empty_set = _empty_list

    def _tuple(self, _: Any) -> None:
        self.stack.append(tuple(self._since_mark()))

    def _tuple1(self, _: Any) -> None:
        self._join(1)

    def _tuple2(self, _: Any) -> None:
        self._join(2)

    def _tuple3(self, _: Any) -> None:
        self._join(3)

    def _join(self, count: int) -> None:
        if len(self.stack) < count:
            raise IndexError
        taken = tuple(self.stack[-count:])
        del self.stack[-count:]
        self.stack.append(taken)

    def _list(self, _: Any) -> None:
        self.stack.append(self._since_mark())

    _frozenset = _list

    def _dict(self, _: Any) -> None:
        taken = self._since_mark()
        self.stack.append({})
        self._assign(taken)

    def _append(self, _: Any) -> None:
        self._extend([self.stack.pop()])

    def _appends(self, _: Any) -> None:
        self._extend(self._since_mark())

    def _additems(self, _: Any) -> None:
        self._extend(self._since_mark())

    def _extend(self, taken: list[Any]) -> None:
        target = self.stack[-1]
        if isinstance(target, Call):
            target.appended.extend(taken)
        elif isinstance(target, list):
            target.extend(taken)

    def _setitem(self, _: Any) -> None:
        value = self.stack.pop()
        self._assign([self.stack.pop(), value])

    def _setitems(self, _: Any) -> None:
        self._assign(self._since_mark())

    def _assign(self, taken: list[Any]) -> None:
        target = self.stack[-1]
        if isinstance(target, Call):
            target = target.items
        if isinstance(target, dict):
            names = map(_key, taken[::2])
            target.update(zip(names, taken[1::2], strict=True))

    def _global(self, argument: str) -> None:
        module, _, name = argument.partition(" ")
        self._import(module, name)

    def _stack_global(self, _: Any) -> None:
        name = self.stack.pop()
        self._import(str(self.stack.pop())[:200], str(name)[:200])

    def _import(self, module: str, name: str) -> None:
        found = Name(module, name)
        self.names[found] = None
        self.stack.append(found)

    def _inst(self, argument: str) -> None:
        taken = tuple(self._since_mark())
        self._global(argument)
        self.stack.append(Call(self.stack.pop(), taken))

    def _obj(self, _: Any) -> None:
        taken = self._since_mark()
        self.stack.append(Call(taken[0], tuple(taken[1:])))

    def _reduce(self, _: Any) -> None:
        arguments = self.stack.pop()
        self.stack.append(Call(self.stack.pop(), arguments))

    _newobj = _reduce

    def _newobj_ex(self, _: Any) -> None:
        self.stack.pop()
        self._reduce(None)

    def _ext1(self, argument: Any) -> None:
        self._import("copyreg", f"extension {argument}")

    _ext2 = _ext4 = _ext1

    def _build(self, _: Any) -> None:
        state = self.stack.pop()
        if isinstance(self.stack[-1], Call):
            self.stack[-1].state = state

    def _persid(self, argument: Any) -> None:
        self.stack.append(Stored(argument))

    def _binpersid(self, _: Any) -> None:
        self.stack.append(Stored(self.stack.pop()))

    def _next_buffer(self, _: Any) -> None:
        self.stack.append(Stored("buffer"))

    def _binput(self, argument: int) -> None:
        self.memo[argument] = self.stack[-1]

    _long_binput = _put = _binput

    def _memoize(self, _: Any) -> None:
        self.memo[len(self.memo)] = self.stack[-1]

    def _binget(self, argument: int) -> None:
        self.stack.append(self.memo[argument])

    _long_binget = _get = _binget


_PUSHING = frozenset({
    "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "STRING", "BINSTRING", "SHORT_BINSTRING",
    "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8", "UNICODE", "SHORT_BINUNICODE", "BINUNICODE",
    "BINUNICODE8", "FLOAT", "BINFLOAT",
})  # fmt: skip
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
_SILENT = frozenset({"PROTO", "STOP", "FRAME", "READONLY_BUFFER"})


def _key(value: Any) -> Any:
    """A key of text or a number unchanged; of any other only its type, because hashing it could take forever."""
    if isinstance(value, (str, int, float, bytes)):
        return value
    return f"<{type(value).__name__}>"


def walk(value: Any, limit: int) -> Iterator[tuple[str, Any]]:
    """Yield every leaf of nested mappings and sequences with its dotted name. Each container is entered once.

    Raises:
        BrokenPickle: there are more than `limit` leaves.
    """
    left = [limit]
    yield from _walk("", value, left, set())


def _walk(prefix: str, value: Any, left: list[int], seen: set[int]) -> Iterator[tuple[str, Any]]:
    entries = contents_of(value)
    if entries is None:
        left[0] -= 1
        if left[0] < 0:
            message = "it has too many values"
            raise BrokenPickle(message)
        yield prefix, value
        return
    if id(value) in seen or prefix.count(".") > _DEEPEST:
        return
    seen.add(id(value))
    for name, item in entries.items():
        inner = f"{prefix}.{name}" if prefix else str(name)
        yield from _walk(inner, item, left, seen)


_DEEPEST = 60


def contents_of(value: Any) -> dict[Any, Any] | None:
    """What a container holds, by key or position; None for a leaf, such as the call that rebuilds a tensor."""
    if isinstance(value, dict):
        return value
    if isinstance(value, (list, tuple)):
        return dict(enumerate(value))
    if isinstance(value, Call):
        return _contents_of_call(value)
    return None


def _contents_of_call(call: Call) -> dict[Any, Any] | None:
    name = call.function.name if isinstance(call.function, Name) else ""
    if name.startswith("_re"):
        return None
    if call.items:
        return call.items
    if call.appended:
        return dict(enumerate(call.appended))
    if isinstance(call.state, dict):
        return _contents_of_state(call.state)
    if name in ("OrderedDict", "dict", "list"):
        return {}
    return None


def _contents_of_state(state: dict[Any, Any]) -> dict[Any, Any]:
    """The parameters, buffers and modules of a torch module or ParameterDict; the whole state of another object."""
    found: dict[Any, Any] = {}
    for part in ("_parameters", "_buffers", "_modules"):
        found |= contents_of(state.get(part)) or {}
    return found or state
