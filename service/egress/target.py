"""Which URLs a customer may name: checked by their text, then by each address they resolve to."""

import re
from dataclasses import dataclass

from service.domain.url import Target, TargetRefused, split_url
from service.egress.addresses import denied_kind, is_loopback

_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_NAME = re.compile(rf"(?=.{{1,253}}$){_LABEL}(?:\.{_LABEL})*")
# No public name ends like this: RFC 6762, 7686 and 8375, ICANN's `internal`, and conventions.
_PRIVATE_NAME = re.compile(r"(?:.*\.)?(?:local|internal|localdomain|home\.arpa|lan|onion)")


@dataclass(frozen=True)
class Rules:
    """Allow https to these ports, and with `allow_loopback` http and any port on loopback."""

    ports: frozenset[int] = frozenset({443, 8443})
    allow_loopback: bool = False


def check_url(url: str, rules: Rules) -> None:
    """Raise TargetRefused for a URL that can never be allowed. Does no DNS lookup."""
    parse(url, rules)


def parse(url: str, rules: Rules) -> Target:
    """Parse and check a URL; the result is also what is called later."""
    target = split_url(url)
    if target.is_address:
        check_address(target, target.host, rules)
    elif target.host == "localhost" or target.host.endswith(".localhost"):
        if not rules.allow_loopback:
            raise TargetRefused("the host is this machine")
    else:
        _check_name(target.host)
        _check_public(target, rules)
    return target


def check_address(target: Target, address: str, rules: Rules) -> None:
    """Raise TargetRefused unless connecting to `target` at `address` is allowed."""
    if rules.allow_loopback and is_loopback(address):
        return
    kind = denied_kind(address)
    if kind is not None:
        verb = "is" if target.is_address else "resolves to"
        raise TargetRefused(f"the host {verb} {kind}")
    _check_public(target, rules)


def _check_public(target: Target, rules: Rules) -> None:
    if target.scheme != "https":
        raise TargetRefused("the URL must begin with https://")
    if target.port not in rules.ports:
        ports = ", ".join(str(port) for port in sorted(rules.ports))
        raise TargetRefused(f"the port must be one of {ports}")


def _check_name(host: str) -> None:
    if not _NAME.fullmatch(host):
        raise TargetRefused("the host is neither a name nor an address")
    if "." not in host or _PRIVATE_NAME.fullmatch(host):
        raise TargetRefused("the host is a name of a private network")
