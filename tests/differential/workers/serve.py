"""Runs a worker many times in one process: `serve.py WORKER.py`, in the worker's environment.

Packages such as torch take seconds to import. Each line of standard input names a request and an
answer, with a tab between them; a line of output says that the answer is written, or why not.
"""

import importlib.util
import os
import sys
import traceback


def main():
    place = sys.argv[1]
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what packages print is no answer
    spec = importlib.util.spec_from_file_location("worker", place)
    worker = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(worker)
    for line in sys.stdin:
        sys.argv[:] = [place, *line.rstrip("\n").split("\t")]
        try:
            worker.main()
        except Exception as error:  # noqa: BLE001 - whatever it is, the test that asked says it
            traceback.print_exc()
            message = " ".join(str(error).split())[:200]
            print(f"{type(error).__name__}: {message}", file=answers, flush=True)
        else:
            print("written", file=answers, flush=True)


if __name__ == "__main__":
    main()
