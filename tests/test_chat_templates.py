"""Chat templates: taken apart into strings, checked, and run only within bounds."""

import io
import json
import re
import shlex
from dataclasses import replace

import pytest

from refquant.errors import FormatError, LimitError, UsageError
from refquant.formats.chat_derive import default_system, derive_chat, with_chat
from refquant.formats.chat_template import TEMPLATE, ChatTemplate, template_of
from refquant.formats.checkpoint import Document, TokenizerSpec
from refquant.formats.rq import write_checkpoint
from tests.command_line import call
from tests.runtime_models import random_checkpoint
from tests.runtime_tokenizers import byte_level

pytest.importorskip("jinja2")

CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>'"
    " + '\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
DEFAULT = (
    "{% if messages[0]['role'] != 'system' %}{{ '<|im_start|>system\nBe kind.<|im_end|>\n' }}"
    "{% endif %}" + CHATML
)
LLAMA3 = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{% set told = messages[0]['content'] %}"
    "{% set messages = messages[1:] %}{% else %}{% set told = '' %}{% endif %}"
    "{{ '<|start_header_id|>system<|end_header_id|>\n\nToday: 26 Jul 2024\n\n' + told"
    " + '<|eot_id|>' }}{% for m in messages %}{{ '<|start_header_id|>' + m['role']"
    " + '<|end_header_id|>\n\n' + m['content'] | trim + '<|eot_id|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}"
    "{% endif %}"
)
GEMMA = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{% set first = messages[0]['content']"
    " + '\n\n' %}{% set messages = messages[1:] %}{% else %}{% set first = '' %}{% endif %}"
    "{% for m in messages %}{% set role = 'model' if m['role'] == 'assistant' else m['role'] %}"
    "{{ '<start_of_turn>' + role + '\n' + (first if loop.first else '') + m['content'] | trim"
    " + '<end_of_turn>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)
MISTRAL = (
    "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'user' %}"
    "{{ '[INST] ' + m['content'] + ' [/INST]' }}{% elif m['role'] == 'assistant' %}"
    "{{ m['content'] + eos_token }}{% else %}{{ raise_exception('only users') }}"
    "{% endif %}{% endfor %}"
)
LLAMA2 = (
    "{% if messages[0]['role'] == 'system' %}{% set told = '<<SYS>>\n' + messages[0]['content']"
    " + '\n<</SYS>>\n\n' %}{% set messages = messages[1:] %}{% else %}{% set told = '' %}"
    "{% endif %}{% for m in messages %}{% if m['role'] == 'user' %}{{ bos_token + '[INST] '"
    " + (told if loop.first else '') + m['content'] | trim + ' [/INST]' }}{% else %}"
    "{{ ' ' + m['content'] | trim + ' ' + eos_token }}{% endif %}{% endfor %}"
)
PHI3 = (
    "{% for m in messages %}{{ '<|' + m['role'] + '|>\n' + m['content'] + '<|end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% else %}"
    "{{ eos_token }}{% endif %}"
)
ZEPHYR = (
    "{% for m in messages %}\n{{ '<|' + m['role'] + '|>\n' + m['content'] + eos_token }}\n"
    "{% if loop.last and add_generation_prompt %}\n{{ '<|assistant|>' }}\n{% endif %}\n{% endfor %}"
)
CHATML_TURNS = {
    "assistant": ("<|im_start|>assistant\n", "<|im_end|>\n"),
    "system": ("<|im_start|>system\n", "<|im_end|>\n"),
    "user": ("<|im_start|>user\n", "<|im_end|>\n"),
}


def derived(source):
    return derive_chat(ChatTemplate(source, "<s>", "</s>"))


@pytest.mark.parametrize(
    ("source", "start", "prompt", "user", "assistant", "system", "default"),
    [
        (
            CHATML,
            "",
            "<|im_start|>assistant\n",
            *(CHATML_TURNS[r] for r in ("user", "assistant", "system")),
            None,
        ),
        (
            DEFAULT,
            "",
            "<|im_start|>assistant\n",
            *(CHATML_TURNS[r] for r in ("user", "assistant", "system")),
            "Be kind.",
        ),
        (
            LLAMA3,
            "<s>",
            "<|start_header_id|>assistant<|end_header_id|>\n\n",
            ("<|start_header_id|>user<|end_header_id|>\n\n", "<|eot_id|>"),
            ("<|start_header_id|>assistant<|end_header_id|>\n\n", "<|eot_id|>"),
            ("<|start_header_id|>system<|end_header_id|>\n\nToday: 26 Jul 2024\n\n", "<|eot_id|>"),
            "",
        ),
        (
            GEMMA,
            "<s>",
            "<start_of_turn>model\n",
            ("<start_of_turn>user\n", "<end_of_turn>\n"),
            ("<start_of_turn>model\n", "<end_of_turn>\n"),
            None,
            None,
        ),
        (MISTRAL, "<s>", "", ("[INST] ", " [/INST]"), ("", "</s>"), None, None),
        (LLAMA2, "", "", ("<s>[INST] ", " [/INST]"), (" ", " </s>"), None, None),
        (
            ZEPHYR,
            "",
            "<|assistant|>\n",
            ("<|user|>\n", "</s>\n"),
            ("<|assistant|>\n", "</s>\n"),
            ("<|system|>\n", "</s>\n"),
            None,
        ),
    ],
    ids=["chatml", "default", "llama3", "gemma", "mistral", "llama2", "zephyr"],
)
def test_a_template_becomes_its_strings(source, start, prompt, user, assistant, system, default):
    found = derived(source)
    assert found.reason == ""
    turns = {"assistant": assistant, "user": user}
    assert found.turns.turns == turns | ({} if system is None else {"system": system})
    assert (found.turns.start, found.turns.prompt) == (start, prompt)
    assert found.system == default


def test_an_end_that_only_stands_without_a_prompt_is_no_obstacle():
    found = derived(PHI3)
    text = found.turns.text([("system", "a"), ("user", "b"), ("assistant", "c"), ("user", "d")])
    spoken = (
        "<|system|>\na<|end|>\n<|user|>\nb<|end|>\n<|assistant|>\nc<|end|>\n<|user|>\nd<|end|>\n"
    )
    assert text == spoken + "<|assistant|>\n"


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (CHATML.replace("m['content']", "(messages | length) ~ m['content']"), "strings"),
        (CHATML.replace("m['content']", "m['content'] | upper"), "strings"),
        (CHATML.replace("m['content']", "m['content'] | replace('x', 'y')"), "do not spell"),
        ("{{ raise_exception('never') }}", "never"),
        ("{% for", "TemplateSyntaxError"),
        ("{{ ''.__class__.__mro__ }}", "SecurityError"),
        ("{{ messages.append(1) }}", "SecurityError"),
    ],
)
def test_a_template_that_strings_cannot_say_is_told(source, reason):
    found = derived(source)
    assert found.turns is None
    assert reason in found.reason


def test_a_template_has_bounds():
    forever = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
    with pytest.raises(LimitError, match="took more than 1 s"):
        ChatTemplate(forever, seconds=1).text([("user", "a")])
    with pytest.raises(LimitError, match="stopped"):
        ChatTemplate("{{ 'a' * 9999999999 }}{{ 9 ** 9 ** 9 }}", seconds=1).text([("user", "a")])
    with pytest.raises(UsageError, match="longer than 50 characters"):
        ChatTemplate("{% for a in range(99) %}a{% endfor %}", characters=50).text([("user", "a")])


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("{{ messages[0].content | tojson }}", '"\u00e9 <b>"'),
        ("{{ messages | tojson(true, indent=1) }}",
         '[\n {\n  "role": "user",\n  "content": "\\u00e9 <b>"\n }\n]'),
        ("{% generation %}{{ messages[0].content }}{% endgeneration %}!", "\u00e9 <b>!"),
        ("{% set a = 1 %}{% generation %}{% set a = 2 %}{% endgeneration %}{{ a }}", "1"),
        ("{{ tools is none and documents is none }}", "True"),
        ("{{ bos_token is defined }} {{ eos_token is defined }}", "True False"),
        ("{{ strftime_now('%%') }}{{ strftime_now('%Y') | length }}", "%4"),
    ],
)  # fmt: skip
def test_a_template_finds_what_transformers_gives_it(source, text):
    assert ChatTemplate(source, "<s>").text([("user", "\u00e9 <b>")]) == text


def test_strings_taken_from_a_template_say_no_date():
    date = "{% if strftime_now is defined %}{{ strftime_now('%Y') }}{% else %}2024{% endif %}"
    assert derived(date + CHATML).turns.start == "2024"
    assert "strftime_now" in derived("{{ strftime_now('%Y') }}" + CHATML).reason


def test_a_checkpoint_gets_the_strings_of_its_template():
    checkpoint = random_checkpoint(tokenizer=byte_level(), vocabulary=258)
    assert with_chat(checkpoint) == (checkpoint, "")
    checkpoint.documents[TEMPLATE] = Document(TEMPLATE, "text/x-jinja", DEFAULT.encode())
    found, note = with_chat(checkpoint)
    assert (found.chat.turns, note) == (CHATML_TURNS, "")
    assert default_system(found.extensions) == "Be kind."
    checkpoint.documents[TEMPLATE] = Document(TEMPLATE, "text/x-jinja", b"{{ messages | length }}")
    found, note = with_chat(checkpoint)
    assert found.chat is None
    assert "kept as a text only" in note


def test_what_is_said_of_a_template_can_be_typed(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    checkpoint = random_checkpoint(tokenizer=byte_level(), vocabulary=258)
    template = Document(TEMPLATE, "text/x-jinja", CHATML.encode())
    write_checkpoint("a.rq", replace(checkpoint, documents={TEMPLATE: template}))
    assert call(capsys, "convert", "a.rq", "my model.gguf").status == 0
    found = call(capsys, "run", "my model.gguf", "--chat")
    assert found.status == 4
    commands = [shlex.split(typed)[1:] for typed in re.findall("`(.*?)`", found.err)]
    assert len(commands) == 2
    with monkeypatch.context() as without:
        without.setattr("refquant.formats.chat_template.can_render", lambda: False)
        found = call(capsys, "run", "my model.gguf", "--chat")
    assert "pip install 'refquant[chat]'" in found.err
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    for command in [*commands, ["run", "my model.gguf", "--chat", "--jinja"]]:
        assert call(capsys, *command).status == 0


def test_a_token_that_begins_every_turn_is_not_the_beginning_of_the_text():
    found = derive_chat(ChatTemplate(DEFAULT, "<|im_start|>", "<|im_end|>"))
    assert (found.turns.turns, found.turns.start) == (CHATML_TURNS, "")
    assert found.system == "Be kind."


@pytest.mark.parametrize("added", [{"id": "x", "content": "<s>"}, {"id": 256}, {"id": [256]}])
def test_added_tokens_without_an_id_or_a_text_are_left_out(added):
    assert template_around([added]).bos == ""
    begin = {"id": 256, "content": "<s>"}
    assert template_around([begin, added]).bos == "<s>"


def test_added_tokens_that_are_no_objects_are_damage():
    with pytest.raises(FormatError, match="E_HF_TOKENIZER"):
        template_around(["<s>"])


def template_around(added):
    spec = byte_level()
    text = json.dumps(json.loads(spec.json) | {"added_tokens": added}).encode()
    tokenizer = TokenizerSpec(spec.kind, text, spec.bos, spec.eos, spec.add_bos)
    document = Document(TEMPLATE, "text/x-jinja", b"{{ bos_token }}")
    return template_of(
        replace(random_checkpoint(tokenizer=tokenizer), documents={TEMPLATE: document})
    )
