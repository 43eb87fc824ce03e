"""What the rounds of benchmarks/api.py come to: the table, and whether the bounds hold."""

import statistics

from benchmarks.load import Load

# By server and method.
Round = dict[str, dict[str, Load]]

PEERS = ("ceiling", "naive", "procrastinate")
# How many times as quick as each peer ours must be, and its p99 of a POST in milliseconds.
LEAST = {
    ("POST", "ceiling"): 0.15,
    ("GET", "ceiling"): 0.40,
    ("POST", "naive"): 2.0,
    ("GET", "naive"): 2.0,
    ("POST", "procrastinate"): 2.0,
    ("GET", "procrastinate"): 2.0,
}
MOST_P99_MS = 100.0
BOUND, AIMED = "ours-sqlite", "ours-postgres"


def show(rounds: list[Round]) -> int:
    """Print each figure's median over the rounds with its least and its most, and each missed
    bound. A ratio is taken within its round: the machine's speed drifts from one to the next."""
    peers = "".join(f"{'÷ ' + peer:>21}" for peer in PEERS)
    print(f"median of {len(rounds)} rounds (least..most)")
    print(f"{'':19}{'a second':>21}{'p50 ms':>8}{'p99 ms':>8}{peers}")
    for name in rounds[0]:
        for method in rounds[0][name]:
            _row(rounds, name, method)
    missed = _missed(rounds, BOUND)
    for words in missed:
        print("missed:", words)
    print("all bounds hold" if not missed else f"{len(missed)} bounds missed")
    for words in _missed(rounds, AIMED, only="procrastinate"):
        print("aimed at, no bound:", words)
    return 1 if missed else 0


def _row(rounds: list[Round], name: str, method: str) -> None:
    loads = [r[name][method] for r in rounds]
    rate = _spread([load.rate for load in loads], ",.0f")
    p50, p99 = (_percentile(loads, share) for share in (0.5, 0.99))
    ratios = "".join(f"{_spread(_ratios(rounds, name, peer, method), '.2f'):>21}" for peer in PEERS)
    print(f"{name:15}{method:4}{rate:>21}{p50:8.1f}{p99:8.1f}{ratios}")


def _missed(rounds: list[Round], name: str, only: str = "") -> list[str]:
    found = []
    for (method, peer), least in LEAST.items():
        ratio = statistics.median(_ratios(rounds, name, peer, method))
        if only in ("", peer) and ratio < least:
            found.append(f"{name} {method} is {ratio:.3g} of {peer}, less than {least}")
    p99 = _percentile([r[name]["POST"] for r in rounds], 0.99)
    if not only and p99 > MOST_P99_MS:
        found.append(f"{name} POST p99 is {p99:.0f} ms, more than {MOST_P99_MS:.0f}")
    return found


def _ratios(rounds: list[Round], name: str, peer: str, method: str) -> list[float]:
    return [r[name][method].rate / r[peer][method].rate for r in rounds]


def _percentile(loads: list[Load], share: float) -> float:
    return statistics.median(load.percentile(share) for load in loads)


def _spread(values: list[float], form: str) -> str:
    middle, least, most = statistics.median(values), min(values), max(values)
    return f"{middle:{form}} ({least:{form}}..{most:{form}})"
