"""How much chaos: a little with every run of the tests, a lot with CHAOS=long."""

import os

LONG = os.environ.get("CHAOS") == "long"


def rounds(short: int, long: int) -> int:
    return long if LONG else short


def tell(what: str, **counts: float) -> None:
    """What was seen, for `pytest -rP`."""
    told = ", ".join(f"{name.replace('_', ' ')} {count:g}" for name, count in counts.items())
    print(f"{what}: {told}")  # noqa: T201 - the point of it
