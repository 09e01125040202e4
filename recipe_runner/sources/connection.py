"""Check the environment's connection settings before connecting, so that a message names the wrong variable."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit

from recipe_runner.problems.problem import ResolutionError

_PROXIES = ("http", "https", "all")
_NOT_IN_HOST = frozenset(" !\"#$%&'()*+,/;<=>?@[\\]^`{|}")
_SCHEMES = ("http", "https", "socks5", "socks5h")


def check_connection() -> None:
    """Refuse settings that prevent any connection. Values are not printed: they may contain a password.

    Raises:
        ResolutionError: E447.
    """
    from urllib.request import getproxies  # noqa: PLC0415 - slow to import, and only connections need it

    proxies = getproxies()
    excluded = proxies.get("no", "").replace(" ", "").split(",")
    # For the client, `*` means no proxy at all.
    if "*" not in excluded:
        for name in _PROXIES:
            value = proxies.get(name)
            if value:
                _check_proxy(_variable(f"{name}_proxy"), value)
    endpoint = os.environ.get("HF_ENDPOINT")
    if endpoint:
        _check_address("HF_ENDPOINT", endpoint, ("http", "https"))
    _check_certificates()


def _check_proxy(variable: str, value: str) -> None:
    if "://" not in value:
        value = f"http://{value}"
    _check_address(variable, value, _SCHEMES)
    if value.lower().startswith("socks") and find_spec("socksio") is None:
        message = f"{variable} names a SOCKS proxy, which needs the package socksio"
        raise _refused(message, f"`pip install socksio`, or unset {variable}")


def _check_address(variable: str, value: str, schemes: tuple[str, ...]) -> None:
    if not is_address(value, schemes):
        hint = f"write it as {schemes[0]}://host:port, or unset {variable}"
        message = f"{variable} is not a valid address"
        raise _refused(message, hint)


def is_address(address: str, schemes: tuple[str, ...]) -> bool:
    """Whether an address has one of the schemes, and a valid host and port."""
    try:
        parts = urlsplit(address)
        host, _ = parts.hostname or "", parts.port
        if not host.isascii():
            # The stricter rules that the HTTP client follows too.
            from idna import encode  # noqa: PLC0415 - only for names beyond ASCII

            encode(host)
        host.encode("idna")
    except ValueError:
        return False
    if parts.scheme not in schemes or not host or not _NOT_IN_HOST.isdisjoint(host):
        return False
    is_ipv6 = ":" in host
    return not is_ipv6 or "[" in parts.netloc


def _check_certificates() -> None:
    import ssl  # noqa: PLC0415 - as above

    for variable, option in (("SSL_CERT_FILE", "cafile"), ("SSL_CERT_DIR", "capath")):
        where = os.environ.get(variable)
        if not where:
            continue
        try:
            if option == "capath" and not Path(where).is_dir():
                raise NotADirectoryError(2, "no such folder")
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(**{option: where})
        except OSError as error:
            reason = error.strerror
            if isinstance(error, ssl.SSLError):
                reason = "it holds no certificates"
            message = f"{variable} is {where}, which cannot be used: {reason}"
            raise _refused(message, f"set {variable} to a file of certificates, or unset it") from error


def _variable(name: str) -> str:
    """The name of the variable that is set: in lower or upper case."""
    if os.environ.get(name):
        return name
    return name.upper()


def _refused(message: str, hint: str) -> ResolutionError:
    return ResolutionError.of("E447", message, hint)
