"""`refquant run`: prompts in, text out, and what it says about itself."""

import io
import json
import sys

import numpy as np
import pytest

from refquant.formats import open_checkpoint
from refquant.runtime import GenerateOptions, Step, Tokenizer, generate, load_model
from tests.command_line import call, small_model, spawn


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return small_model(tmp_path_factory.mktemp("models") / "small.rq")


def written(model, prompt, **options):
    """What the runtime writes, asked directly."""
    checkpoint = open_checkpoint(model)
    tokenizer = Tokenizer(checkpoint.tokenizer)
    wanted = GenerateOptions(**options)
    ids = tokenizer.encode(prompt)
    steps = generate(load_model(checkpoint), ids, wanted, tokenizer=tokenizer)
    return "".join(step.text for step in steps)


def give_stdin(monkeypatch, data):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data), "utf-8"))


def test_stdout_is_the_continuation_and_a_newline(capsys, model):
    found = call(capsys, "run", model, "--prompt", "It is", "-n", 12)
    assert (found.status, found.err) == (0, "")
    assert found.out == written(model, "It is", max_tokens=12) + "\n"


def test_echo_puts_the_prompt_first(capsys, model):
    plain = call(capsys, "run", model, "-p", "It is", "-n", 4)
    found = call(capsys, "run", model, "-p", "It is", "-n", 4, "--echo")
    assert found.out == "It is" + plain.out


def test_options_reach_the_sampler(capsys, model):
    chosen = {"temperature": 1.5, "top_k": 50, "top_p": 0.9, "min_p": 0.01}
    chosen |= {"repetition_penalty": 1.2, "seed": 7}
    options = [f"--{name.replace('_', '-')}={value}" for name, value in chosen.items()]
    found = call(capsys, "run", model, "-p", "It is", "-n", 12, *options)
    assert found.out == written(model, "It is", max_tokens=12, **chosen) + "\n"


@pytest.mark.parametrize("option", ["--top-k", "--top-p", "--min-p", "--seed"])
@pytest.mark.parametrize("talk", [[], ["--chat"]])
def test_drawing_wants_a_temperature(capsys, model, option, talk):
    prompt = talk or ["-p", "It is", "-n", 1]
    found = call(capsys, "run", model, *prompt, option, 1)
    assert (found.status, found.out) == (2, "")
    assert found.err.startswith(f"refquant: {option} is about drawing")
    assert found.err.endswith("add for example --temperature 0.8\n")
    # Scripts try several temperatures, 0 among them.
    plain = call(capsys, "run", model, "-p", "It is", "-n", 4)
    options = ["-p", "It is", "-n", 4, "--temperature", 0, option, 1]
    assert call(capsys, "run", model, *options) == plain


def test_packed_weights_write_the_same(capsys, model):
    plain = call(capsys, "run", model, "-p", "It is", "-n", 8)
    assert call(capsys, "run", model, "-p", "It is", "-n", 8, "--weights", "packed") == plain


def test_stop_ends_before_its_text(capsys, model):
    whole = call(capsys, "run", model, "-p", "It is", "-n", 12).out[:-1]
    found = call(capsys, "run", model, "-p", "It is", "-n", 12, "--stop", whole[3:5])
    assert found.out[:-1] == whole[: whole.index(whole[3:5])]


def test_the_prompt_may_come_from_a_file_or_stdin(capsys, monkeypatch, tmp_path, model):
    expected = call(capsys, "run", model, "-p", "caf\u00e9", "-n", 4)
    (tmp_path / "prompt.txt").write_bytes("caf\u00e9\n".encode())
    assert call(capsys, "run", model, "-f", tmp_path / "prompt.txt", "-n", 4) == expected
    give_stdin(monkeypatch, "caf\u00e9\r\n".encode())
    assert call(capsys, "run", model, "-p", "-", "-n", 4) == expected


def test_a_prompt_may_begin_with_a_hyphen(capsys, model):
    found = call(capsys, "run", model, "-p", "-5 degrees", "-n", 1, "--json")
    assert found.json["prompt"] == "-5 degrees"


def test_json_holds_the_text_the_ids_and_the_figures(capsys, model):
    found = call(capsys, "run", model, "-p", "It is", "-n", 5, "--json").json
    assert found["schema"] == "refquant.run/1"
    assert found["text"] == written(model, "It is", max_tokens=5)
    assert (found["finish"], len(found["tokens"]), found["prompt_ids"]) == (
        "length", 5, Tokenizer(open_checkpoint(model).tokenizer).encode("It is")
    )  # fmt: skip
    assert found["stats"]["tokens"] == 5
    assert found["stats"]["prompt_tokens"] == 5
    assert found["stats"]["first_token_seconds"] > 0
    assert found["stats"]["peak_memory_bytes"] > 10_000_000


def test_stats_go_to_stderr(capsys, model):
    found = call(capsys, "run", model, "-p", "It is", "-n", 5, "--stats")
    names = [line.split("  ")[0] for line in found.err.splitlines()]
    assert names == [
        "loading", "prompt", "first token", "written", "weights", "cache", "peak memory",
    ]  # fmt: skip
    assert "tokens/s, ended by length" in found.err
    assert found.out == call(capsys, "run", model, "-p", "It is", "-n", 5).out


def test_without_a_number_the_context_bounds_the_text(capsys, model):
    found = call(capsys, "run", model, "-p", "x" * 50, "--json").json
    assert len(found["tokens"]) == 64 - 50


@pytest.mark.parametrize(
    ("options", "status", "message"),
    [
        ([], 2, "neither was given"),
        (["-p", "x", "-f", "y"], 2, "both were given"),
        (["-p", ""], 2, "the prompt has no tokens"),
        (["-p", "x" * 65], 6, "shorten the prompt"),
        (["-p", "x" * 60, "-n", "9"], 6, "at most 4 new tokens fit"),
        (["-p", "x", "-n", "0"], 2, "max_tokens is 0, expected 1 or more"),
        (["-p", "x", "--temperature=-1"], 2, "temperature is -1.0"),
        (["-p", "x", "--stop", ""], 2, "a stop text is empty"),
        (["-f", "nowhere.txt"], 2, "nowhere.txt: No such file or directory"),
    ],
)
def test_requests_that_cannot_be_met(capsys, model, options, status, message):
    found = call(capsys, "run", model, *options)
    assert (found.status, found.out.strip()) == (status, "")
    assert message in found.err
    assert found.err.count("\n") == 1


def test_a_prompt_that_is_not_utf8_is_refused(capsys, monkeypatch, model):
    give_stdin(monkeypatch, b"ab\xff")
    found = call(capsys, "run", model, "-p", "-")
    assert found.status == 2
    assert "from stdin: byte 2 is not UTF-8" in found.err


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX's reasons and devices")
@pytest.mark.parametrize("option", ["-f", "--prompts"])
@pytest.mark.parametrize(
    ("place", "reason"),
    [("", "Is a directory"), ("no", "No such file"), ("/dev/null", "it is a device, not a text")],
)
def test_what_is_no_file_with_a_text(capsys, tmp_path, model, option, place, reason):
    found = call(capsys, "run", model, option, tmp_path / place)
    assert (found.status, found.out) == (2, "")
    assert f"from {tmp_path / place}: {reason}" in found.err


def test_a_wrong_option_is_reported_before_the_model_is_read(capsys, tmp_path):
    (tmp_path / "damaged.rq").write_bytes(b"\x89RQF\r\n\x1a\n")
    assert call(capsys, "run", tmp_path / "damaged.rq", "-p", "x", "--top-p", "2").status == 2
    assert call(capsys, "run", tmp_path / "damaged.rq", "-p", "x").status == 3


def test_a_model_without_a_tokenizer_cannot_read_a_prompt(capsys, tmp_path):
    from refquant.formats.rq import write_checkpoint
    from tests.runtime_models import random_checkpoint

    write_checkpoint(tmp_path / "mute.rq", random_checkpoint())
    found = call(capsys, "run", tmp_path / "mute.rq", "-p", "x")
    assert found.status == 4
    assert "holds no tokenizer" in found.err


def test_control_characters_reach_files_and_not_terminals(monkeypatch):
    from refquant.cli import run_output

    for terminal, expected in ((False, "a\x1b[31m\n\t\x9b"), (True, "a\\x1b[31m\n\t\\x9b")):
        sink = io.StringIO()
        monkeypatch.setattr(sys, "stdout", sink)
        run_output.write("a\x1b[31m\n\t\x9b", guarded=terminal)
        assert sink.getvalue() == expected


def test_text_is_on_its_way_before_the_next_token_is_computed(monkeypatch):
    from refquant.cli import run_output

    class Screen(io.StringIO):
        flushed = ""

        def flush(self):
            self.flushed = self.getvalue()

    def generation():
        for token, text in enumerate("abc"):
            assert screen.flushed == "> abc"[: 2 + token]
            yield Step(token, text, "")

    screen = Screen()
    monkeypatch.setattr(sys, "stdout", screen)
    run_output.stream(generation(), "> ")
    assert screen.flushed == "> abc\n"


def test_demo_is_a_model_of_this_package():
    from refquant.library import BUILT_IN, resolve

    assert resolve("demo").name == "demo.rq"
    done = spawn("run", *BUILT_IN, "-p", "It is a truth", "-n", "3")
    assert done.returncode == 0
    assert done.stdout.strip()


def test_exact_arithmetic_tells_probabilities_that_round_trip(capsys):
    found = call(
        capsys, "run", "demo", "-p", "It is a truth", "-n", 3, "--arith", "exact", "--json",
        "--logprobs",
    ).json  # fmt: skip
    assert found["arith"] == "exact"
    # These decimals are binary32 numbers, and the same on every machine.
    assert found["logprobs"] == ["-1.4142661", "-1.7735679", "-2.041955"]
    assert len(found["tokens"]) == 3
    assert call(capsys, "run", "demo", "-p", "It", "--logprobs").status == 2


@pytest.mark.parametrize("option", ["--prompt", "--stop", "--logit-bias"])
def test_bytes_that_are_no_text_are_refused(capsys, option):
    prompt = () if option == "--prompt" else ("-p", "It")
    found = call(capsys, "run", "demo", *prompt, "-n", 1, option, "\udcff=3")
    assert (found.status, found.out) == (2, "")
    assert "not Unicode: its character 0" in found.err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--json", "--echo"], "--echo does not go with --json"),
        (["--workers", 300], "workers is 300, expected at most"),
        (["--workers", 100000], "workers is 100000, expected at most"),
    ],
)
def test_options_that_would_do_nothing_are_refused(capsys, monkeypatch, options, message):
    monkeypatch.setattr("refquant.runtime.workers.usable_processors", lambda: 2)
    found = call(capsys, "run", "demo", "-p", "It", "-n", 1, *options)
    assert (found.status, found.out) == (2, "")
    assert message in found.err


@pytest.mark.parametrize("count", [10**12, 2**63 - 1, 10**20])
def test_more_tokens_than_any_machine_holds(capsys, count):
    found = call(capsys, "run", "demo", "-p", "It", "-n", count)
    assert (found.status, found.out) == (6, "")
    assert "exceed the model's context of" in found.err


@pytest.mark.parametrize("ending", ["npz", "rq"])
def test_a_trace_holds_every_layer(capsys, tmp_path, ending):
    path = tmp_path / f"states.{ending}"
    assert call(capsys, "run", "demo", "-p", "It is a truth", "-n", 3, "--trace", path).status == 0
    if ending == "npz":
        with np.load(path) as file:
            states = dict(file)
    else:
        states = {n: t.dequantize() for n, t in open_checkpoint(path).tensors.items()}
    assert states["blk.3"].shape == states["embedding"].shape == (6, 256)
    assert states["output_norm"].shape[0] == states["logits"].shape[0] == 3
    tokens = call(capsys, "run", "demo", "-p", "It is a truth", "-n", 3, "--json").json["tokens"]
    assert states["logits"].argmax(axis=1).tolist() == tokens


def test_a_trace_of_another_kind_is_refused_first(capsys, tmp_path):
    found = call(capsys, "run", "nowhere", "-p", "It", "--trace", tmp_path / "states.csv")
    assert (found.status, found.err.count("\n")) == (2, 1)
    assert "ends in .npz or .rq, not 'states.csv'" in found.err


@pytest.mark.parametrize("ending", ["npz", "rq"])
def test_a_trace_takes_the_place_of_traces_only(capsys, tmp_path, ending):
    path = tmp_path / f"states.{ending}"
    arguments = ("run", "demo", "-p", "It", "-n", 1, "--trace", path)
    path.touch()
    assert call(capsys, *arguments).status == call(capsys, *arguments).status == 0
    if ending == "npz":
        np.savez(path, weights=np.zeros(3))
    else:
        small_model(path)
    for content in (path.read_bytes(), b"anything else"):
        path.write_bytes(content)
        found = call(capsys, *arguments)
        assert (found.status, found.out) == (2, "")
        assert "exists and is no trace" in found.err
        assert path.read_bytes() == content


def test_a_trace_that_cannot_be_written_is_refused_before_anything_is(capsys, tmp_path):
    for place in (tmp_path / "nowhere" / "x.npz", tmp_path):
        found = call(capsys, "run", "demo", "-p", "It", "-n", 1, "--trace", place)
        assert (found.status, found.out) == (2, "")


def test_any_number_of_workers_writes_the_same(capsys):
    arguments = ("run", "demo", "-p", "It is a truth", "-n", 12, "--json")
    tokens = [
        json.loads(call(capsys, *arguments, "--workers", count)[1])["tokens"] for count in (1, 2, 3)
    ]
    assert tokens[0] == tokens[1] == tokens[2]


def test_workers_where_there_can_be_none(capsys, monkeypatch):
    plain = call(capsys, "run", "demo", "-p", "It is", "-n", 2)
    monkeypatch.setattr(sys, "platform", "darwin")
    status, out, err = call(capsys, "run", "demo", "-p", "It is", "-n", 2, "--workers", 2)
    assert (status, out) == plain[:2]
    assert "--workers 2" in err
    assert "this is darwin; one computes" in err
    status, _, err = call(capsys, "run", "demo", "-p", "It is", "-n", 2, "--workers", 0)
    assert (status, "workers is 0" in err) == (2, True)
