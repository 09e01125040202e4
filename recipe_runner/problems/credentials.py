"""Find credentials in addresses, so that none gets into a recipe, a lock, a record or a message.

Credentials are recognized by their form: a user before an `@`, a parameter whose name services use for keys, tokens and
signatures, and values that start like well-known tokens. `_HARMLESS` lists names that only look like credentials. A
secret in the path of an address has no such form and is not found.
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
"""Parts of names that no other word of an address contains."""
_WORDS = frozenset({"auth", "authn", "authorization", "authorisation", "authentication", "key", "sig", "sign", "pass",
                    "pw", "sas", "sid", "ak", "sk"})  # fmt: skip
_LEVELS = 3
"""How often an address may be escaped within another one."""
_SHOWN = 60
"""Characters of a parameter's name that a message shows."""
_HARMLESS = frozenset({"author", "tokenizer", "tokenizers", "maxtokens", "numtokens", "xamzsignedheaders", "rlkey",
                       "xgoogsignedheaders", "signedheaders", "signatureversion", "signaturemethod", "resourcekey",
                       "objectkey", "filekey", "cachekey", "sortkey", "keyword", "keywords"})  # fmt: skip
"""Names of parameters that hold no secret: other values, how something is signed, and public links."""


def credential_in(text: str) -> str | None:
    """Name the credential in an address in `text`, without its value; None when there is none."""
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
        # An escaped value may be an address itself.
        if found := _nested(value, levels):
            return found
    if "://" in address and _TOKEN.search(address):
        return "a token"
    return None


def _nested(value: str, levels: int = _LEVELS) -> str | None:
    inner = unquote(value)
    if not levels or "%" not in value or "/" not in inner:
        return None
    return _found(inner, levels - 1)


@lru_cache(maxsize=1024)
def is_credential_name(name: str) -> bool:
    """Whether a parameter with this name probably holds a credential."""
    plain = re.sub(r"[^a-z0-9]", "", name.lower())
    if plain in _HARMLESS:
        return False
    if any(part in plain for part in _ANYWHERE) or plain.endswith("key"):
        return True
    words = {word.lower() for word in _WORD.findall(name)}
    return plain in _WORDS or not words.isdisjoint(_WORDS)


@lru_cache(maxsize=32)
def masked(text: str) -> str:
    """`text` with `*` for each character of a credential, so that all other characters keep their columns."""
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
