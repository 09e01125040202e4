"""What in an address looks like a credential, so that none gets into a recipe, a lock, a record or a message.

It is judged by form: a user before an `@`, a parameter whose name services give to keys, tokens and signatures, and
values with the beginnings of well-known tokens. What only looks so is listed in `_HARMLESS`. A secret inside the path
of an address, which has no form of its own, is not seen.
"""

from __future__ import annotations

import re
from functools import lru_cache
from urllib.parse import unquote

_USER = re.compile(r"(?<=://)[^/\s?#\"'<>`]*(?=@)")
_PARAMETER = re.compile(r"[?&;#]([^=&;#?/\s\"'<>`]{1,200})=([^&;#\s\"'<>`]*)")
_TOKEN = re.compile(
    r"(?<![\w-])(?:hf_[A-Za-z0-9]{30,}|gh[pousr]_[A-Za-z0-9]{30,}|github_pat_\w{30,}|glpat-[\w-]{20,}|AKIA[0-9A-Z]{16}"
    r"|eyJ[\w-]{10,}\.[\w-]{10,}\.[\w-]*)"
)
"""Tokens of the Hub, of GitHub, of GitLab and of AWS, and JSON web tokens."""
_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|[0-9]+")
_ANYWHERE = ("token", "secret", "passw", "passphrase", "passwd", "pwd", "credential", "signature", "bearer", "jwt",
             "oauth", "session", "cookie", "apikey", "accesskey", "hmac")  # fmt: skip
"""Parts of names that stand in no other word of an address."""
_WORDS = frozenset({"auth", "authn", "authorization", "authorisation", "authentication", "key", "sig", "sign", "pass",
                    "pw", "sas", "sid", "ak", "sk"})  # fmt: skip
_LEVELS = 3
"""How often an address may be escaped within another one."""
_SHOWN = 60
"""Characters of a parameter's name that a message shows."""
_HARMLESS = frozenset({"author", "tokenizer", "tokenizers", "maxtokens", "numtokens", "xamzsignedheaders", "rlkey",
                       "xgoogsignedheaders", "signedheaders", "signatureversion", "signaturemethod", "resourcekey",
                       "objectkey", "filekey", "cachekey", "sortkey", "keyword", "keywords"})  # fmt: skip
"""Names of no secret: of other things, of how something is signed, and of links that are shared as they are."""


def credential_in(text: str) -> str | None:
    """What of an address in `text` looks like a credential, in words without its value; None where nothing does."""
    if "/" not in text:
        return None
    for word in text.split():
        if "/" not in word:
            continue
        if found := _found(word):
            return found
    return None


def _found(address: str, levels: int = _LEVELS) -> str | None:
    if _USER.search(address):
        return "user and password"
    for name, value in _PARAMETER.findall(address):
        if is_credential_name(unquote(name)):
            return unquote(name)[:_SHOWN]
        # What is escaped may be an address itself.
        if found := _nested(value, levels):
            return found
    if "://" in address and _TOKEN.search(address):
        return "a token"
    return None


def _nested(value: str, levels: int = _LEVELS) -> str | None:
    inner = unquote(value)
    return _found(inner, levels - 1) if levels and "%" in value and "/" in inner else None


@lru_cache(maxsize=1024)
def is_credential_name(name: str) -> bool:
    """Whether a parameter of this name holds a credential, as its form says."""
    plain = re.sub(r"[^a-z0-9]", "", name.lower())
    if plain in _HARMLESS:
        return False
    if any(part in plain for part in _ANYWHERE) or plain.endswith("key"):
        return True
    words = {word.lower() for word in _WORD.findall(name)}
    return plain in _WORDS or not words.isdisjoint(_WORDS)


@lru_cache(maxsize=32)
def masked(text: str) -> str:
    """`text` with `*` in the place of each character of a credential, so that every other keeps its column."""
    text = _USER.sub(_stars, text)
    text = _PARAMETER.sub(_without_value, text)
    return _TOKEN.sub(_stars, text)


def _stars(match: re.Match[str]) -> str:
    return "*" * len(match.group())


def _without_value(match: re.Match[str]) -> str:
    name, value = unquote(match[1]), match[2]
    if not is_credential_name(name) and not _nested(value):
        return match.group()
    return match.group()[: -len(value) or None] + "*" * len(value)
