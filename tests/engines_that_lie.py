"""Engines that do one thing wrong with the protocol: `python -m tests.engines_that_lie NAME`."""

import json
import os
import shutil
import sys
import time
from pathlib import Path

FAKES = {}
HELLO = {"engine": {"name": "fake"}, "features": ["*"]}


def right(message):
    """The reference's answer; it is imported late, as most fakes start without it."""
    from refquant.conformance.reference import answer

    return answer(message)


def fake(function):
    FAKES[function.__name__] = function
    return function


def say(data):
    print("@rq " + json.dumps(data), flush=True)


def ok(message):
    say({"seq": message["seq"], "outcome": "ok"})


@fake
def crashes(_):
    os.abort()


@fake
def exits_with_0(_):
    sys.exit(0)


@fake
def hangs(_):
    time.sleep(60)


@fake
def says_nothing_on_input(message):
    print("thinking", flush=True)
    time.sleep(60)


@fake
def writes_nothing(message):
    ok(message)


@fake
def answers_with_another_seq(message):
    right(message)
    say({"seq": message["seq"] + 1, "outcome": "ok"})


@fake
def truncates(message):
    right(message)
    for one in message["out"]:
        path = Path(one["path"])
        path.write_bytes(path.read_bytes()[:-1])
    ok(message)


@fake
def removes_outputs(message):
    for one in message["out"]:
        Path(one["path"]).unlink()
    ok(message)


@fake
def answers_twice(message):
    say(right(message))
    ok(message)


@fake
def claims_unsupported(message):
    say({"seq": message["seq"], "outcome": "unsupported"})


@fake
def rejects_all(message):
    say({"seq": message["seq"], "outcome": "rejected", "code": "E_MAGIC"})


@fake
def returns_inputs(message):
    raw = b"".join(Path(i["path"]).read_bytes()[i["off"] :][: i["len"]] for i in message["in"])
    for one in message["out"]:
        size = Path(one["path"]).stat().st_size
        Path(one["path"]).write_bytes((raw * (size // max(len(raw), 1) + 1))[:size])
    ok(message)


@fake
def returns_zeros(message):
    for one in message["out"]:
        Path(one["path"]).write_bytes(bytes(Path(one["path"]).stat().st_size))
    ok(message)


@fake
def returns_yesterdays_output(message):
    for one in message["out"]:
        size = Path(one["path"]).stat().st_size
        kept = YESTERDAY.setdefault(size, None)
        if kept is None:
            right(message)
            YESTERDAY[size] = Path(one["path"]).read_bytes()
        else:
            Path(one["path"]).write_bytes(kept)
    ok(message)


YESTERDAY = {}


@fake
def allocates_without_end(_):
    kept = []
    while True:
        kept.append(bytearray(b"x") * (8 << 20))


@fake
def writes_a_line_without_end(_):
    while True:
        sys.stdout.write("x" * 65536)


@fake
def logs_without_end(_):
    while True:
        print("still working", flush=False)


@fake
def floods_after_its_answer(message):
    say(right(message))
    while True:
        os.write(1, b"y\n" * 32768)


@fake
def dies_of_a_signal_without_a_name(_):
    os.kill(os.getpid(), 40)


@fake
def puts_pipes_for_outputs(message):
    for one in message["out"]:
        Path(one["path"]).unlink()
        os.mkfifo(one["path"])
    ok(message)


@fake
def puts_folders_for_files(message):
    for path in {one["path"] for one in message["out"] + message["in"]}:
        Path(path).unlink()
        Path(path).mkdir()
        Path(path, "x").mkdir()
    ok(message)


@fake
def puts_a_pipe_for_inputs(message):
    answer = right(message)
    for path in {one["path"] for one in message["in"]}:
        Path(path).unlink()
        os.mkfifo(path)
    say(answer)


@fake
def removes_the_folder(message):
    right(message)
    shutil.rmtree(Path(message["out"][0]["path"]).parent)
    ok(message)


@fake
def says_half_a_character(message):
    say({"seq": message["seq"], "outcome": "error", "detail": "\ud800" + "x" * 100_000})


@fake
def says_a_list_for_text(message):
    nested = "[" * 600 + "]" * 600
    print(f'@rq {{"seq": {message["seq"]}, "outcome": "rejected", "code": {nested}}}', flush=True)


@fake
def answers_no_json(_):
    print("@rq {ok", flush=True)


@fake
def answers_a_list(_):
    say([1])


@fake
def answers_another_word(message):
    say({"seq": message["seq"], "outcome": "fine"})


@fake
def mixes_noise_in(message):
    print('{"seq": 1, "outcome": "ok"}')
    print("warning: \udce9 library noise @rq")
    say(right(message))


@fake
def crashes_once_in_a_while(message):
    crashes_once_in_a_while.count = getattr(crashes_once_in_a_while, "count", 0) + 1
    if crashes_once_in_a_while.count == 3:
        os.abort()
    say(right(message))


def main(name):
    sys.stdout.reconfigure(errors="surrogateescape")
    for line in sys.stdin:
        message = json.loads(line)
        if message["cmd"] == "hello":
            say(HELLO)
        elif message["cmd"] == "run":
            FAKES[name](message)
        else:
            return


if __name__ == "__main__":
    main(sys.argv[1])
