"""Print the results of benchmarks/api.py as a table, and check the bounds."""

import statistics

from benchmarks.load import Load

# By server and method.
Round = dict[str, dict[str, Load]]

PEERS = ("ceiling", "naive", "procrastinate")
# Minimum throughput relative to each peer, and maximum p99 of a POST in milliseconds.
MIN_RATIOS = {
    ("POST", "ceiling"): 0.15,
    ("GET", "ceiling"): 0.40,
    ("POST", "naive"): 2.0,
    ("GET", "naive"): 2.0,
    ("POST", "procrastinate"): 2.0,
    ("GET", "procrastinate"): 2.0,
}
MAX_P99_MS = 100.0
BOUND, TARGET = "ours-sqlite", "ours-postgres"


def print_table(rounds: list[Round]) -> int:
    """Print the median, minimum and maximum of each figure, and each missed bound.

    Ratios are computed within a round, since the machine's speed changes between rounds. Returns
    the exit status.
    """
    peers = "".join(f"{'÷ ' + peer:>21}" for peer in PEERS)
    print(f"median of {len(rounds)} rounds (min..max)")
    print(f"{'':19}{'a second':>21}{'p50 ms':>8}{'p99 ms':>8}{peers}")
    for name in rounds[0]:
        for method in rounds[0][name]:
            _row(rounds, name, method)
    misses = _misses(rounds, BOUND)
    for miss in misses:
        print("missed:", miss)
    print("all bounds hold" if not misses else f"{len(misses)} bounds missed")
    for miss in _misses(rounds, TARGET, only="procrastinate"):
        print("target, not a bound:", miss)
    return 1 if misses else 0


def _row(rounds: list[Round], name: str, method: str) -> None:
    loads = [r[name][method] for r in rounds]
    rate = _spread([load.rate for load in loads], ",.0f")
    p50, p99 = (_percentile(loads, share) for share in (0.5, 0.99))
    ratios = "".join(f"{_spread(_ratios(rounds, name, peer, method), '.2f'):>21}" for peer in PEERS)
    print(f"{name:15}{method:4}{rate:>21}{p50:8.1f}{p99:8.1f}{ratios}")


def _misses(rounds: list[Round], name: str, only: str = "") -> list[str]:
    misses = []
    for (method, peer), min_ratio in MIN_RATIOS.items():
        ratio = statistics.median(_ratios(rounds, name, peer, method))
        if only in ("", peer) and ratio < min_ratio:
            misses.append(f"{name} {method} is {ratio:.3g} of {peer}, less than {min_ratio}")
    p99 = _percentile([r[name]["POST"] for r in rounds], 0.99)
    if not only and p99 > MAX_P99_MS:
        misses.append(f"{name} POST p99 is {p99:.0f} ms, more than {MAX_P99_MS:.0f}")
    return misses


def _ratios(rounds: list[Round], name: str, peer: str, method: str) -> list[float]:
    return [r[name][method].rate / r[peer][method].rate for r in rounds]


def _percentile(loads: list[Load], share: float) -> float:
    return statistics.median(load.percentile(share) for load in loads)


def _spread(values: list[float], form: str) -> str:
    median = statistics.median(values)
    return f"{median:{form}} ({min(values):{form}}..{max(values):{form}})"
