"""Set this process's clock, while it runs, by the seconds in the file that `SET_CLOCK` names.

Python imports this by itself where the folder is on PYTHONPATH. The monotonic clock goes on evenly,
as it does when somebody sets a machine's clock.
"""

import os
import threading
import time
from pathlib import Path

import time_machine


def _follow(file: Path, traveller: time_machine.Traveller) -> None:
    now = 0.0
    while True:
        wanted = float(file.read_text())
        traveller.shift(wanted - now)
        now = wanted
        time.sleep(0.1)


if "SET_CLOCK" in os.environ:
    threading.Thread(
        target=_follow,
        args=(
            Path(os.environ["SET_CLOCK"]),
            time_machine.travel(time.time()).start(),
        ),
        name="set-clock",
        daemon=True,
    ).start()
