"""What was acknowledged outlives a power cut, by the pragmas of service/store/engine.py."""

from pathlib import Path

import pytest

from service.store.engine import PRAGMAS
from tests.chaos.power_trial import Trial
from tests.chaos.recorded import Recorded, record
from tests.chaos.scale import rounds, tell

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def recorded(migrated: Path, tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    path = tmp_path_factory.mktemp("power") / "rushes.db"
    path.write_bytes(migrated.read_bytes())
    return record(path, 2500)


@pytest.mark.parametrize("torn", [False, True], ids=["unsynced-gone", "unsynced-torn"])
def test_no_acknowledged_job_is_lost_with_the_power(recorded: Recorded, torn: bool) -> None:
    trials = [Trial(recorded, PRAGMAS, torn, seed).run() for seed in range(rounds(20, 200))]

    sums = _sums(trials)
    tell("unsynced sectors torn" if torn else "unsynced writes gone", **sums)
    assert sums["acknowledged"] > 0
    assert (sums["lost"], sums["corrupt"], sums["halved"]) == (0, 0, 0)


# So that the test above can fail: the same trials, with less care.


def test_with_less_syncing_jobs_are_lost(recorded: Recorded) -> None:
    sums = _careless(recorded, "synchronous = NORMAL", torn=False)

    assert sums["lost"] > 0


def test_without_syncing_the_file_is_corrupt(recorded: Recorded) -> None:
    sums = _careless(recorded, "synchronous = OFF", torn=True)

    assert sums["corrupt"] > 0


def _careless(recorded: Recorded, pragma: str, *, torn: bool) -> dict[str, int]:
    pragmas = PRAGMAS.replace("synchronous = FULL", pragma)
    assert pragmas != PRAGMAS
    sums = _sums([Trial(recorded, pragmas, torn, seed).run() for seed in range(20)])
    tell(pragma, **sums)
    return sums


def _sums(trials: list[Trial]) -> dict[str, int]:
    return {
        "trials": len(trials),
        "power_losses": sum(trial.power_losses for trial in trials),
        "checkpoints": sum(trial.checkpoints for trial in trials),
        "acknowledged": sum(len(trial.acknowledged) for trial in trials),
        "lost": sum(len(trial.lost) for trial in trials),
        "corrupt": sum(trial.corrupt for trial in trials),
        "halved": sum(trial.halved for trial in trials),
    }
