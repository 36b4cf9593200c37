"""Whether data for an address leaves this machine."""

from __future__ import annotations

import ipaddress


def leaves_machine(address: str) -> bool:
    """Whether gRPC may connect to another machine for this address, also if it cannot be parsed."""
    scheme, has_scheme, path = address.partition(":")
    match scheme.lower() if has_scheme else "":
        case "unix":
            return not path.startswith("/")
        case "dns":
            # With an authority (a DNS server), localhost may be another machine.
            return not _is_loopback(path.removeprefix("///"))
        case "ipv4" | "ipv6":
            return not all(_is_loopback(one) for one in path.split(","))
        case _:
            return not _is_loopback(address)


def _is_loopback(place: str) -> bool:
    if place.startswith("["):
        host = place[1:].partition("]")[0]
    else:
        host = place.partition(":")[0]
    if host.lower() == "localhost":
        return True
    try:
        ip = ipaddress.ip_address(host)
    except ValueError:
        return False
    return (getattr(ip, "ipv4_mapped", None) or ip).is_loopback
