"""Which IP addresses may be connected to: ordinary public ones, and no others.

`ipaddress.is_global` is not used: it follows the registry as of the Python release, and 3.11.7
still calls 192.0.0.192, a metadata service, public. Rows come from IANA's special
registries unless their comment says otherwise:

    https://www.iana.org/assignments/iana-ipv4-special-registry
    https://www.iana.org/assignments/iana-ipv6-special-registry
"""

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

_DENIED = tuple(
    (ip_network(network), why)
    for network, why in (
        ("0.0.0.0/8", "an unspecified address"),  # Linux connects 0.0.0.0 to itself
        ("10.0.0.0/8", "a private address"),
        ("100.64.0.0/10", "a carrier's shared address"),  # Alibaba's metadata service is in it
        ("127.0.0.0/8", "a loopback address"),
        ("168.63.129.16/32", "a cloud's own address"),  # Azure's fabric, in a public range
        ("169.254.0.0/16", "a link-local address"),  # the metadata service of most clouds
        ("172.16.0.0/12", "a private address"),
        ("192.0.0.0/24", "a reserved address"),  # Oracle's metadata service is in it
        ("192.0.2.0/24", "a documentation address"),
        ("192.31.196.0/24", "a reserved address"),  # AS112, a sink for stray DNS
        ("192.52.193.0/24", "a reserved address"),  # multicast tunnels
        ("192.88.99.0/24", "a tunnel's address"),  # 6to4 relays
        ("192.168.0.0/16", "a private address"),
        ("192.175.48.0/24", "a reserved address"),  # AS112
        ("198.18.0.0/15", "a benchmark address"),
        ("198.51.100.0/24", "a documentation address"),
        ("203.0.113.0/24", "a documentation address"),
        ("224.0.0.0/4", "a multicast address"),  # RFC 5771
        ("240.0.0.0/4", "a reserved address"),  # broadcast included
        ("::/128", "an unspecified address"),
        ("::1/128", "a loopback address"),
        ("::/96", "an embedded IPv4 address"),  # IPv4-compatible, RFC 4291
        ("64:ff9b::/96", "an embedded IPv4 address"),  # NAT64
        ("64:ff9b:1::/48", "an embedded IPv4 address"),  # NAT64 inside one network
        ("100::/64", "a discard address"),
        ("100:0:0:1::/64", "a reserved address"),
        ("2001::/32", "an embedded IPv4 address"),  # Teredo
        ("2001::/23", "a reserved address"),  # benchmark, ORCHID and other protocols' own
        ("2001:db8::/32", "a documentation address"),
        ("2002::/16", "an embedded IPv4 address"),  # 6to4
        ("2620:4f:8000::/48", "a reserved address"),  # AS112
        ("3fff::/20", "a documentation address"),
        ("5f00::/16", "a reserved address"),  # SRv6
        ("fc00::/7", "a private address"),  # AWS' and Google's metadata services are in it
        ("fe80::/10", "a link-local address"),
        ("fec0::/10", "a private address"),  # site-local, RFC 3879
        ("ff00::/8", "a multicast address"),
        # Public IPv6 addresses are handed out from 2000::/3 alone: this is everything else.
        ("::/3", "a reserved address"),
        ("4000::/2", "a reserved address"),
        ("8000::/1", "a reserved address"),
    )
)


def denied_kind(address: str) -> str | None:
    """Return the kind of a denied address, or None if connecting is allowed."""
    ip = _parse(address)
    if ip is None:
        return "an unusable address"
    return next((why for network, why in _DENIED if ip in network), None)


def is_loopback(address: str) -> bool:
    """Check for an address of this machine."""
    ip = _parse(address)
    return ip is not None and ip.is_loopback


def _parse(address: str) -> IPv4Address | IPv6Address | None:
    """Parse an address; IPv4-mapped IPv6 becomes IPv4, and one with a zone (`%eth0`) None."""
    try:
        ip = ip_address(address)
    except ValueError:
        return None
    if isinstance(ip, IPv4Address):
        return ip
    return None if ip.scope_id else ip.ipv4_mapped or ip
