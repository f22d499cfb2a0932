"""Stage S7: files whose model can be run, and files that are sound and yet no model to run."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conformance.container import generate
from conformance.container.model_files import MODELS
from refquant.errors import FormatError, UnsupportedError, UsageError
from refquant.formats.chat import ROLES, ChatTurns
from refquant.formats.rq import check_runnable, read, write_checkpoint
from refquant.formats.rq.runnable import TOKENIZER_KINDS
from refquant.formats.strict_json import parse_json
from refquant.runtime.tokenizer import PIECE_BYTES
from tests.command_line import call

MANIFEST = json.loads((generate.CORPUS / "manifest.json").read_text("utf-8"))
UNSUPPORTED = {"E_ARCH_FAMILY", "E_TOKENIZER_KIND"}


@pytest.mark.parametrize("name", MODELS)
def test_a_reader_reads_and_a_runner_says_why_not(name):
    code, _ = MODELS[name]
    checkpoint = read(generate.CORPUS / "run" / f"{name}.rq", verify="full")
    assert {n: list(t.shape) for n, t in checkpoint.tensors.items()}
    if code is None:
        check_runnable(checkpoint)
        return
    with pytest.raises((FormatError, UnsupportedError)) as error:
        check_runnable(checkpoint)
    assert error.value.code == code
    assert isinstance(error.value, UnsupportedError) == (code in UNSUPPORTED)


@pytest.mark.parametrize("name", MANIFEST["valid"])
def test_valid_files_have_the_manifests_answer(name):
    checkpoint = read(generate.CORPUS / "valid" / name)
    if wanted := MANIFEST["valid"][name].get("run"):
        with pytest.raises(UnsupportedError) as error:
            check_runnable(checkpoint)
        assert error.value.code == wanted
    else:
        check_runnable(checkpoint)


@pytest.mark.parametrize(
    ("name", "status"), [("json_key_twice", 3), ("tokenizer_id_beyond", 3), ("family_unknown", 4)]
)
def test_the_command_says_why_not(capsys, name, status):
    path = generate.CORPUS / "run" / f"{name}.rq"
    done = call(capsys, "run", path, "-p", "a", "-n", "1")
    assert done.status == status
    assert MODELS[name][0] in done.err


def test_the_kinds_of_tokenizers_are_those_that_run():
    assert set(TOKENIZER_KINDS) == PIECE_BYTES.keys()


def test_writing_keeps_the_chat_and_what_can_be_run_stays_so(tmp_path):
    checkpoint = read(generate.CORPUS / "run" / "tied_with_alias.rq")
    assert checkpoint.chat == ChatTurns(
        {"assistant": ("<a>", "</a>"), "system": ("", "\n"), "user": ("<u>", "</u>")}, "<s>", "<a>"
    )
    write_checkpoint(tmp_path / "again.rq", checkpoint)
    again = read(tmp_path / "again.rq")
    check_runnable(again)
    check_runnable(replace(again, documents=dict(again.documents), tensors=dict(again.tensors)))
    assert again.chat == checkpoint.chat


def test_a_conversation_is_its_messages_between_strings():
    chat = read(generate.CORPUS / "run" / "tied_with_alias.rq").chat
    messages = [("system", "Be brief."), ("user", "One?"), ("assistant", "1"), ("user", "Two?")]
    assert chat.text(messages) == "<s>Be brief.\n<u>One?</u><a>1</a><u>Two?</u><a>"
    assert chat.text([]) == "<s><a>"
    with pytest.raises(UsageError, match="tool"):
        chat.text([("tool", "x")])
    bare = ChatTurns({"assistant": ("", ""), "user": ("", "")})
    with pytest.raises(UsageError, match="system"):
        bare.text([("system", "x")])


@pytest.mark.parametrize("roles", [["user"], ["assistant"], [*ROLES, "tool"], []])
def test_a_chat_has_user_assistant_and_perhaps_system(roles):
    with pytest.raises(UsageError):
        ChatTurns(dict.fromkeys(roles, ("", "")))


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(0, 10**17)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
)


@given(JSON, st.sampled_from([None, 1]), st.booleans())
def test_what_others_write_is_read(value, indent, escaped):
    text = json.dumps(value, indent=indent, ensure_ascii=escaped, allow_nan=False)
    assert parse_json(text.encode("utf-8"), "text") == json.loads(text)


def test_every_json_code_of_the_corpus_is_tried():
    assert {code for code, _ in MODELS.values() if code} >= {
        f"E_JSON_{name}" for name in ("UTF8", "DEPTH", "SYNTAX", "ESCAPE", "DUP")
    }
