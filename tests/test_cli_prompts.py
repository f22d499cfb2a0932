"""Many prompts from one file."""

import json

import pytest

from tests.command_line import call, small_model


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return small_model(tmp_path_factory.mktemp("prompts") / "small.rq")


def test_every_prompt_gets_what_it_gets_alone(capsys, tmp_path, model):
    (tmp_path / "a.txt").write_bytes("It is\r\n\ncaf\u00e9\n".encode())
    found = call(capsys, "run", model, "--prompts", tmp_path / "a.txt", "-n", 5, "--logprobs")
    assert (found.status, found.err) == (0, "")
    lines = [json.loads(line) for line in found.out.splitlines()]
    assert [one["prompt"] for one in lines] == ["It is", "caf\u00e9"]
    for one in lines:
        options = ["-n", 5, "--json", "--logprobs"]
        alone = call(capsys, "run", model, "-p", one["prompt"], *options).json
        assert one == {name: alone[name] for name in one}


def test_json_lines_may_hold_prompts_of_many_lines(capsys, tmp_path, model):
    (tmp_path / "a.jsonl").write_text('"a\\nb"\n{"prompt": "c", "id": 1}\n')
    found = call(capsys, "run", model, "--prompts", tmp_path / "a.jsonl", "-n", 1)
    assert [json.loads(line)["prompt"] for line in found.out.splitlines()] == ["a\nb", "c"]


@pytest.mark.parametrize(
    ("text", "options", "status", "message"),
    [
        ("{", [], 3, "line 1"),
        ('"a"\n[1]', [], 3, "line 2"),
        ("\n", [], 2, "holds no prompts"),
        ('"a"', ["-p", "b"], 2, "--prompt does not go with --prompts"),
        ('"a"', ["-n", "9999"], 6, "exceed the model's context"),
        ('"a"\n\n""', [], 2, "line 3: the prompt has no tokens"),
        ('"a"\n"\\ud800"', [], 2, "line 2: the text is not Unicode"),
        (f'"a"\n"{"b" * 999}"\n""', [], 6, "line 2: the prompt's 999 tokens"),
    ],
)
def test_mistakes_are_told_before_anything_is_written(
    capsys, tmp_path, model, text, options, status, message
):
    (tmp_path / "a.jsonl").write_text(text)
    found = call(capsys, "run", model, "--prompts", tmp_path / "a.jsonl", *options)
    assert (found.status, found.out) == (status, "")
    assert message in found.err
