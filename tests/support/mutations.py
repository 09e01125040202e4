"""Change a document by its structure or by its bytes, under a seed: what a fuzz test feeds on."""

from __future__ import annotations

import copy
import io
import json
import random
import struct
import zipfile
import zlib
from collections.abc import Callable, Sequence
from typing import Any

import yaml
from support.trees import paths

SCALARS: tuple[Any, ...] = (
    None, True, False, 0, 1, 2, -1, 3, 8, 64, 255, 1000, 10**5, 10**7, 2**31, 2**32, 2**53 + 1, 2**63, 2**64 - 1, 2**64,
    10**12, 10**300, -(10**18), 0.0, -0.0, 0.5, 1.5, -1e9, 1e9, 1e300, 5e-324, float("nan"), float("inf"),
    float("-inf"),
)  # fmt: skip
STRINGS = (
    "", " ", "a", "a b", "a\nb", "a\r\nb", "\x00", "\x1b[2J", "\x7f", "\u202e", "\ufeff", "\ud800", "e\u0301", "🐻",
    "x" * 300, "x" * 70_000, "..", ".", "/", "//", "~", "~/.bashrc", "../outside/secret.json", "../outside",
    "../../outside/secret.json", "..\\outside\\secret.json", "/etc/passwd", "/dev/zero", "/dev/stdin", "/proc/self/mem",
    "C:\\x", "file:///etc/passwd", "http://127.0.0.1:9/x", "https://[::1", "https://user:secret@example.org/x",
    "a/../b", "a//b", "a/", "-", "--help", "=1+1", "::error::x", "%s%n", "{0}", "${HOME}", "$(id)", "`id`", "NaN",
    "Infinity", "1e999", "null", "[", "{", "AutoModel", "torch", "os", "os.system", "__class__", "__reduce__",
    "_class_name", "0" * 64, "f" * 64, "F" * 64, "z" * 64, "0123456789" * 4, "*", "?", "[a", "(a+)+$",
    "model.safetensors",
)  # fmt: skip
KEYS = ("", "a", "model", "kind", "name", "path", "config", "files", "shape", "dtype", "__metadata__", "_class_name",
        "x" * 300, "a\nb", "\x00", "../outside/secret.json", "/etc/passwd", "auto_map", "0", "-1", "null")  # fmt: skip
TOKENS = (
    b":", b": ", b"- ", b"\t", b"\n", b"\r\n", b"{", b"}", b"[", b"]", b"'", b'"', b"#", b"&a ", b"*a", b"!x ", b"|",
    b"%YAML 1.1\n---\n", b"---\n", b"...\n", b"<<: *a\n", b"\xff", b"\xef\xbb\xbf", b"\xe2\x80\xa8", b"\x00", b"\x85",
    b".nan", b"1e999", b"null", b"9" * 30, b"9" * 5000, b"\xf0\x9f\x90\xbb", b"[" * 2000, b'{"a":' * 2000, b"\\ud800",
    b"NaN", b"-Infinity", b"\xff\xff\xff\xff", b"\x00\x00\x00\x00", b"\x7f\xff\xff\xff", b"\x80\x00\x00\x00",
)  # fmt: skip

Mutation = Callable[[bytes, random.Random], bytes]


def changed_bytes(data: bytes, source: random.Random) -> bytes:
    """Some bytes deleted, replaced, inserted or repeated, or the rest cut off."""
    made = bytearray(data)
    for _ in range(source.choice((1, 1, 1, 2, 4, 16))):
        # Headers decide most: half of the changes are made near the beginning.
        reach = len(made) if source.random() < 0.5 else min(len(made), 512)
        start = source.randint(0, reach)
        action = source.randrange(7)
        if action == 0:
            made[start : start + source.randint(1, 8)] = b""
        elif action == 1:
            made[start:start] = source.choice(TOKENS)
        elif action == 2 and made:
            made[start % len(made)] = source.randrange(256)
        elif action == 3 and made:
            made[start % len(made)] ^= 1 << source.randrange(8)
        elif action == 4:
            made[start : start + 4] = source.choice(TOKENS)[:4]
        elif action == 5:
            made[start:start] = made[start : start + source.randint(1, 64)]
        elif source.random() < 0.3:
            del made[start:]
    return bytes(made)


def hostile(source: random.Random) -> Any:
    """A value that few readers expect."""
    kind = source.randrange(8)
    if kind < 3:
        return source.choice(SCALARS)
    if kind < 6:
        return source.choice(STRINGS)
    if kind == 6:
        return copy.deepcopy(source.choice(([], {}, [[]], [{}], {"a": 1}, [None], [1, "a"], ["a"] * 2_000)))
    value: Any = 1
    for _ in range(source.choice((2, 40, 300))):
        value = {"a": value} if source.random() < 0.5 else [value]
    return value


def changed_tree(tree: Any, source: random.Random) -> Any:
    """A copy with values replaced, deleted, moved or multiplied, and keys added or renamed."""
    tree = copy.deepcopy(tree)
    for _ in range(source.choice((1, 1, 1, 2, 3))):
        below = paths(tree)[1:]
        if not below:
            return hostile(source)
        _change_at(tree, source.choice(below), below, source)
    return tree


def _change_at(tree: Any, path: tuple[Any, ...], below: Sequence[tuple[Any, ...]], source: random.Random) -> None:
    *above, last = path
    parent = _at(tree, above)
    action = source.randrange(7)
    if action == 0:
        del parent[last]
    elif action == 1 and isinstance(parent, dict):
        parent[source.choice(KEYS)] = hostile(source)
    elif action == 2 and isinstance(parent, dict):
        parent[source.choice(KEYS)] = parent.pop(last)
    elif action == 3:
        parent[last] = copy.deepcopy(_at(tree, source.choice(below)))
    elif action == 4 and isinstance(parent, list):
        parent *= source.choice((0, 2, 20))
    else:
        parent[last] = hostile(source)


def _at(tree: Any, path: Sequence[Any]) -> Any:
    for step in path:
        tree = tree[step]
    return tree


def as_json(tree: Any, source: random.Random) -> bytes:
    """JSON as strangers write it: with letters outside Unicode, NaN, and here and there a key twice."""
    text = json.dumps(tree, indent=source.choice((None, 2)), ensure_ascii=source.random() < 0.5, default=str)
    if source.random() < 0.1 and text.startswith("{") and len(text) > 2:
        text = "{" + text[1:-1] + ", " + text[1:]
    return text.encode("utf-8", "surrogatepass")


def changed_json(data: bytes, source: random.Random) -> bytes:
    """A JSON document changed by its structure, or by its bytes."""
    if source.random() < 0.25:
        return changed_bytes(data, source)
    return as_json(changed_tree(json.loads(data), source), source)


def changed_lines(data: bytes, source: random.Random) -> bytes:
    """A document of one JSON object a line, one of which is changed, or whose lines are."""
    lines = data.split(b"\n")
    place = source.randrange(len(lines))
    if lines[place] and source.random() < 0.7:
        lines[place] = changed_json(lines[place], source).replace(b"\n", b" ")
    elif source.random() < 0.5:
        lines.insert(place, source.choice(lines))
    else:
        return changed_bytes(data, source)
    return b"\n".join(lines)


def changed_yaml(data: bytes, source: random.Random) -> bytes:
    """A YAML document changed by its structure, its lines or its bytes."""
    chance = source.random()
    if chance < 0.25:
        return changed_bytes(data, source)
    if chance < 0.4:
        lines = data.split(b"\n")
        place = source.randrange(len(lines))
        lines[place : place + source.randint(0, 1)] = [b" " * source.randint(0, 5) + source.choice(lines).lstrip()]
        return b"\n".join(lines)
    try:
        tree = changed_tree(yaml.load(data, _Loader), source)  # noqa: S506 - of a safe loader
    except (yaml.YAMLError, ValueError, RecursionError):
        return changed_bytes(data, source)
    try:
        text = yaml.dump(tree, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=10**6)
    except (yaml.YAMLError, UnicodeError, RecursionError):
        # Too deep, or with a letter that is none: JSON is YAML, too.
        return as_json(tree, source)
    return text.encode("utf-8", "surrogatepass")


_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_Dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


def changed_safetensors(data: bytes, source: random.Random) -> bytes:
    """A safetensors file whose header is changed, with a length that is right or not, or whose bytes are."""
    if source.random() < 0.3:
        return changed_bytes(data, source)
    length = int.from_bytes(data[:8], "little")
    text = changed_json(data[8 : 8 + length], source)
    stated = len(text) if source.random() < 0.9 else source.choice((0, 1, 2**32, 2**63, len(text) + 1))
    return stated.to_bytes(8, "little") + text + data[8 + length :]


def changed_zip(data: bytes, source: random.Random) -> bytes:
    """A zip file of which one member is changed, renamed or written twice, or whose bytes are."""
    if source.random() < 0.3:
        return changed_bytes(data, source)
    made = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as archive, zipfile.ZipFile(made, "w") as out:
        names = archive.namelist()
        chosen = source.choice(names)
        for name in names:
            content = archive.read(name)
            if name == chosen:
                content = changed_bytes(content, source)
                name = source.choice((name, name, name, f"../{name}", "/etc/passwd", name.upper()))  # noqa: PLW2901
            out.writestr(name, content)
    return made.getvalue()


def changed_png(data: bytes, source: random.Random) -> bytes:
    """A PNG file of which one chunk is changed, with a checksum that is right again, or whose bytes are."""
    if source.random() < 0.3:
        return changed_bytes(data, source)
    chunks, place = [], 8
    while place + 12 <= len(data):
        (length,) = struct.unpack(">I", data[place : place + 4])
        chunks.append((data[place + 4 : place + 8], data[place + 8 : place + 8 + length]))
        place += 12 + length
    number = source.randrange(len(chunks))
    kind, content = chunks[number]
    if source.random() < 0.2:
        chunks.insert(number, chunks[number])
    else:
        chunks[number] = (
            source.choice((kind, kind, kind, b"tEXt", b"iTXt", b"zTXt", b"eXIf")),
            changed_bytes(content, source),
        )
    made = data[:8]
    for name, each in chunks:
        made += struct.pack(">I", len(each)) + name + each + struct.pack(">I", zlib.crc32(name + each))
    return made
