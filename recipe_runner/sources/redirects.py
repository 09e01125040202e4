"""Follow the redirects of a request one by one, and refuse those that lead where no file of a recipe lies.

A server may send a request on to another server on the internet, over https. It may not lower https to http, nor send
this machine to itself, to its own network or to a cloud's metadata, unless the first address names such a host too.
A name is looked up to see where it leads. What it resolves to a moment later, when the connection is made, is not seen,
nor what a proxy makes of it: behind one only addresses that are numbers, and `localhost`, are told.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from urllib.request import getproxies, proxy_bypass

import httpx2

from recipe_runner.problems.problem import Problem, ResolutionError

MOST_REDIRECTS = 10
_NAT64 = IPv6Network("64:ff9b::/96")
_METADATA = ("168.63.129.16", "100.100.100.200", "fd00:ec2::254")
"""Where clouds answer beside the link-local addresses: Azure, Alibaba, and AWS over IPv6."""
_NAMEABLE = ("loopback", "private")
"""Kinds of addresses that a redirect may lead to where the first address is of that kind as well."""


@contextmanager
def followed(client: httpx2.Client, url: str, headers: Mapping[str, str]) -> Iterator[httpx2.Response]:
    """The streamed answer to GET `url`, after all redirects. Credentials stay with the origin that they are for.

    Raises:
        ResolutionError: E443 a redirect leads to where none is followed, or there are too many.
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
            raise _refused(url, "redirects to what is not an address")
        if fault := _fault(first, request.url, following.url):
            raise _refused(url, f"redirects to {_origin(following.url)}: {fault}")
        request = following
    raise _refused(url, f"redirects more than {MOST_REDIRECTS} times, perhaps in a circle")


def _fault(first: httpx2.URL, before: httpx2.URL, url: httpx2.URL) -> str | None:
    """Why a redirect from `before` to `url` is not followed; None when it is. `first` is what the recipe names."""
    if url.scheme not in ("https", before.scheme):
        return "from https only https is followed"
    if url.scheme not in ("https", "http"):
        return "only https is followed"
    if url.host == first.host:
        return None
    kinds = _kinds(url.host)
    allowed = _kinds(first.host).intersection(_NAMEABLE) if kinds else ()
    for kind in sorted(kinds.difference(allowed)):
        return f"that is a {kind} address"
    return None


def _kinds(host: str) -> frozenset[str]:
    """Which kinds of addresses that are not of the internet a host has; none where its name cannot be looked up."""
    if host == "localhost" or host.endswith(".localhost"):
        return frozenset({"loopback"})
    # Behind a proxy names are looked up by the proxy, and this machine may have nobody to ask.
    flags = socket.AI_NUMERICHOST if _is_proxied(host) else 0
    try:
        # A number in any notation is an address here as it is for the connection.
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=flags)
    except (OSError, UnicodeError):
        return frozenset()
    addresses = {str(entry[4][0]).partition("%")[0] for entry in found}
    kinds = (_kind(ip_address(address)) for address in addresses)
    return frozenset(kind for kind in kinds if kind)


def _is_proxied(host: str) -> bool:
    proxies = getproxies()
    return bool(proxies.get("https") or proxies.get("all")) and not proxy_bypass(host)


def _kind(address: IPv4Address | IPv6Address) -> str:
    """`loopback`, `link-local`, `metadata` or `private`; nothing for an address of the internet."""
    if isinstance(address, IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if address in _NAT64:
            inner = IPv4Address(int(address) & 0xFFFFFFFF)
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


def _origin(url: httpx2.URL) -> str:
    """An address without path and query, which may hold a signature."""
    return f"{url.scheme}://{url.host}" + (f":{url.port}" if url.port else "")


def _refused(url: str, what: str) -> ResolutionError:
    hint = "check the address in a browser; a file that lies elsewhere is named by its own address"
    return ResolutionError(Problem(code="E443", message=f"{url}: the server {what}", hint=hint))
