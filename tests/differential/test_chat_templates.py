"""Chat templates as transformers runs them: the same text, or an error in both."""

import json
import subprocess

import pytest

from refquant.formats.chat_template import ChatTemplate
from tests.test_chat_templates import (
    CHATML,
    DEFAULT,
    GEMMA,
    LLAMA2,
    LLAMA3,
    MISTRAL,
    PHI3,
    ZEPHYR,
)

pytestmark = pytest.mark.differential

PARTS = (
    "{{ messages | tojson }}",
    "{{ messages | tojson(indent=2) }}{{ messages | tojson(True, 1, (',', ':'), true) }}",
    "{% for m in messages %}{% generation %}{{ m.content }}\n{% endgeneration %}\n{% endfor %}",
    "{% set a = 1 %}{%- generation -%} {% set a = 2 %}{{ a }} {%- endgeneration -%}{{ a }}",
    "{{ strftime_now('%Y') }}{{ strftime_now('%%f') }}{{ strftime_now('%f') | length }}",
    "{% if tools is not none %}tools{% endif %}{% if documents %}documents{% endif %}",
    "{{ tools is defined }}{{ documents is defined }}{{ pad_token is defined }}{{ unk_token }}",
    "{% for m in messages %}{% if loop.index > 1 %}{% break %}{% endif %}{{ m }}{% endfor %}",
    "{{ raise_exception('no') }}",
    "{{ messages.append(1) }}",
    "{{ messages.__class__.__mro__ }}",
    "{% generation %}",
)
TEMPLATES = (CHATML, DEFAULT, GEMMA, LLAMA2, LLAMA3, MISTRAL, PHI3, ZEPHYR, *PARTS)
TALKS = (
    [("user", "\u00e9 <b>'&\u2028 \U0001f642")],
    [("system", " Be. "), ("user", "a\n"), ("assistant", " 7 "), ("user", "{{ b }}")],
)
SPECIAL = {"bos_token": "<s>", "eos_token": "</s>"}
SCRIPT = """
import json, sys
from transformers.utils.chat_template_utils import render_jinja_template
asked = json.load(sys.stdin)
def text(template, talk):
    try:
        return render_jinja_template([talk], chat_template=template, add_generation_prompt=True,
                                     **asked["special"])[0][0]
    except Exception:
        return None
print(json.dumps([[text(one, talk) for talk in asked["talks"]] for one in asked["templates"]]))
"""


def test_templates_write_what_transformers_has_them_write(oracle):
    talks = [[{"role": role, "content": text} for role, text in talk] for talk in TALKS]
    request = json.dumps({"templates": TEMPLATES, "talks": talks, "special": SPECIAL})
    command = [oracle("torch"), "-c", SCRIPT]
    ran = subprocess.run(command, input=request, capture_output=True, check=True, encoding="utf-8")
    expected = json.loads(ran.stdout)
    for template, texts in zip(TEMPLATES, expected, strict=True):
        chat = ChatTemplate(template, SPECIAL["bos_token"], SPECIAL["eos_token"])
        found = chat.texts([(talk, True) for talk in TALKS])
        assert [one.get("text") for one in found] == texts, template
    # Refusals are agreed on, and most texts are texts.
    assert sum(text is None for texts in expected for text in texts) < len(TEMPLATES)
