"""What the environment says of connections, looked at before one is made, so that a wrong variable is named."""

from __future__ import annotations

import os
import ssl
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies

from recipe_runner.problems.problem import Problem, ResolutionError

_PROXIES = ("http", "https", "all")
_SCHEMES = ("http", "https", "socks5", "socks5h")


def check_connection() -> None:
    """Refuse settings with which no connection can be made. No value is printed: it may hold a password.

    Raises:
        ResolutionError: E447.
    """
    proxies = getproxies()
    # The client takes a `*` for no proxy at all.
    everywhere = "*" in [host.strip() for host in proxies.get("no", "").split(",")]
    for name in () if everywhere else _PROXIES:
        if value := proxies.get(name):
            _check_proxy(_variable(f"{name}_proxy"), value)
    if endpoint := os.environ.get("HF_ENDPOINT"):
        _check_address("HF_ENDPOINT", endpoint, ("http", "https"))
    _check_certificates()


def _check_proxy(variable: str, value: str) -> None:
    value = value if "://" in value else f"http://{value}"
    _check_address(variable, value, _SCHEMES)
    if value.lower().startswith("socks") and find_spec("socksio") is None:
        message = f"{variable} names a SOCKS proxy, and the package for these is not installed"
        raise _refused(message, f"`pip install socksio`, or unset {variable}")


def _check_address(variable: str, value: str, schemes: tuple[str, ...]) -> None:
    if not is_address(value, schemes):
        hint = f"write it as {schemes[0]}://host:port, or unset {variable}"
        message = f"{variable} is not an address that can be used"
        raise _refused(message, hint)


def is_address(address: str, schemes: tuple[str, ...]) -> bool:
    """Whether an address has one of the schemes, and a host and a port that can be."""
    try:
        parts = urlsplit(address)
        host, _ = parts.hostname or "", parts.port
        if not host.isascii():
            # The stricter rules of today, by which the HTTP client judges too.
            from idna import encode  # noqa: PLC0415 - only for names beyond ASCII

            encode(host)
        host.encode("idna")
    except ValueError:
        return False
    odd = set(" !\"#$%&'()*+,/;<=>?@[\\]^`{|}")
    return parts.scheme in schemes and bool(host) and not odd & set(host) and (":" not in host or "[" in parts.netloc)


def _check_certificates() -> None:
    for variable, option in (("SSL_CERT_FILE", "cafile"), ("SSL_CERT_DIR", "capath")):
        where = os.environ.get(variable)
        if not where:
            continue
        try:
            if option == "capath" and not Path(where).is_dir():
                raise NotADirectoryError(2, "there is no such folder")
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(**{option: where})
        except OSError as error:
            # ssl.SSLError is one.
            reason = "it holds no certificates" if isinstance(error, ssl.SSLError) else error.strerror
            message = f"{variable} is {where}, which cannot be used: {reason}"
            raise _refused(message, f"set {variable} to a file of certificates, or unset it") from error


def _variable(name: str) -> str:
    """The variable as it is written: in small letters or in capitals."""
    return name if os.environ.get(name) else name.upper()


def _refused(message: str, hint: str) -> ResolutionError:
    return ResolutionError(Problem(code="E447", message=message, hint=hint))
