"""Follow the redirects of a request one by one, and refuse those that lead to this machine or its network.

A server may redirect to another server on the internet, over https. It may not downgrade https to http, nor redirect to
this machine, to the local network or to a cloud's metadata, unless the first address names such a host too. A host name
is resolved to see where it leads. The check does not see another result when the connection is made, or when a proxy
resolves the name: behind a proxy only numeric addresses and `localhost` are recognised.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from urllib.request import getproxies, proxy_bypass

import httpx2

from recipe_runner.problems.problem import ResolutionError

MOST_REDIRECTS = 10
_NAT64 = IPv6Network("64:ff9b::/96")
_METADATA = ("168.63.129.16", "100.100.100.200", "fd00:ec2::254")
"""Metadata addresses of clouds that are not link-local: Azure, Alibaba, and AWS over IPv6."""
_NAMEABLE = ("loopback", "private")
"""Kinds of addresses that a redirect may lead to if the first address has the same kind."""


@contextmanager
def followed(client: httpx2.Client, url: str, headers: Mapping[str, str]) -> Iterator[httpx2.Response]:
    """The streamed answer to GET `url`, after all redirects. Credentials are sent only to their own origin.

    Raises:
        ResolutionError: E443 a redirect is not allowed, or there are too many.
        httpx2.TransportError: the server cannot be reached.
    """
    request = client.build_request("GET", url, headers=headers)
    first = request.url
    for _ in range(MOST_REDIRECTS + 1):
        with closing(client.send(request, stream=True, follow_redirects=False)) as answer:
            if not answer.has_redirect_location:
                yield answer
                return
            following = answer.next_request
        if following is None:
            raise _refused(url, "redirects to something that is not an address")
        fault = _fault(first, request.url, following.url)
        if fault:
            raise _refused(url, f"redirects to {_origin(following.url)}: {fault}")
        request = following
    raise _refused(url, f"redirects more than {MOST_REDIRECTS} times, perhaps in a circle")


def check_request(endpoint: str, request: httpx2.Request) -> None:
    """Refuse a request of a client that follows redirects itself, unless `endpoint` may redirect there.

    Raises:
        ResolutionError: E443.
    """
    first = httpx2.URL(endpoint)
    fault = _fault(first, first, request.url)
    if fault:
        raise _refused(endpoint, f"redirects to {_origin(request.url)}: {fault}")


def _fault(first: httpx2.URL, before: httpx2.URL, url: httpx2.URL) -> str | None:
    """Why a redirect from `before` to `url` is refused; None if it is allowed. `first` is the address in the recipe."""
    if url.scheme not in ("https", before.scheme):
        return "from https only https is followed"
    if url.scheme not in ("https", "http"):
        return "only https is followed"
    if url.host == first.host:
        return None
    kinds = _kinds(url.host)
    if not kinds:
        return None
    refused = kinds.difference(_kinds(first.host).intersection(_NAMEABLE))
    if not refused:
        return None
    return f"that is a {min(refused)} address"


def _kinds(host: str) -> frozenset[str]:
    """The kinds of a host's addresses that are not on the internet; none if its name cannot be resolved."""
    if host == "localhost" or host.endswith(".localhost"):
        return frozenset({"loopback"})
    flags = 0
    if _is_proxied(host):
        # The proxy resolves names, and this machine may have no resolver.
        flags = socket.AI_NUMERICHOST
    try:
        # Like the connection, this accepts a number in any notation.
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=flags)
    except (OSError, UnicodeError):
        return frozenset()
    addresses = {str(entry[4][0]).partition("%")[0] for entry in found}
    kinds = {_kind(ip_address(address)) for address in addresses}
    return frozenset(kinds - {""})


def _is_proxied(host: str) -> bool:
    proxies = getproxies()
    return bool(proxies.get("https") or proxies.get("all")) and not proxy_bypass(host)


def _kind(address: IPv4Address | IPv6Address) -> str:
    """`loopback`, `link-local`, `metadata` or `private`; empty for an address on the internet."""
    inner = _inner(address)
    if inner is not None:
        return _kind(inner)
    if address.is_loopback or address.is_unspecified:
        return "loopback"
    if str(address) in _METADATA:
        return "metadata"
    if address.is_link_local:
        return "link-local"
    if address.is_global and not address.is_multicast:
        return ""
    return "private"


def _inner(address: IPv4Address | IPv6Address) -> IPv4Address | None:
    """The IPv4 address that an IPv6 address contains."""
    if isinstance(address, IPv4Address):
        return None
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour


def _origin(url: httpx2.URL) -> str:
    """An address without path and query, which may contain a signature."""
    origin = f"{url.scheme}://{url.host}"
    if url.port:
        origin += f":{url.port}"
    return origin


def _refused(url: str, what: str) -> ResolutionError:
    hint = "check the address in a browser, and write the address of the file itself"
    return ResolutionError.of("E443", f"{url}: the server {what}", hint)
