"""Quantizes on a Dask cluster of two processes of this machine, one of which is killed half-way.

    python dask_worker.py FOLDER PATTERN COUNT COMMAND...

COMMAND is that of `refquant`, without `--dask`. The worker dies when FOLDER has COUNT files of that
pattern, or, where the pattern is a number, when the file in it is that long. Prints JSON: the exit
status, whether a worker was killed, and how many there are in the end.
"""

import json
import os
import signal
import sys
import threading
import time
from pathlib import Path

from distributed import LocalCluster

from refquant.cli import main


def is_half_way(folder, pattern, count):
    """Whether it is time."""
    if pattern.isdigit():
        sizes = [path.stat().st_size for path in folder.glob("*.unfinished")]
        return max(sizes, default=0) > int(pattern)
    return len(list(folder.glob(pattern))) >= count


def run(folder, pattern, count, command):
    """The command on a cluster whose first worker is killed half-way."""
    with LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
    ) as c:
        killed = []

        def kill():
            while not is_half_way(folder, pattern, count):
                time.sleep(0.005)
            process = next(iter(c.workers.values())).process.pid
            os.kill(process, signal.SIGKILL)
            killed.append(process)

        threading.Thread(target=kill, daemon=True).start()
        status = main([*command, "--dask", c.scheduler_address])
        c.wait_for_workers(2, timeout=30)
        return {"status": status, "killed": len(killed), "workers": len(c.workers)}


if __name__ == "__main__":
    print(json.dumps(run(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4:])))
