"""Wrong recipes at the command line: each is told with its place and with what was meant."""

import json

import pytest

from tests.command_line import call, small_model

HEAD = '[[rules]]\nscheme = "q8_0"\nrole = "embedding"\n[[rules]]\n'


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    return small_model(folder / "m.rq", width=36, head_width=12, feedforward_width=96)


def attempt(capsys, tmp_path, model, text, *options):
    path = tmp_path / "mine.toml"
    path.write_text(text)
    output = tmp_path / "out.rq"
    return call(capsys, "quantize", model, "-o", output, "--recipe", path, *options)


# Second rules of a document, and the document's own mistakes: each with its place and a way out.
ERRORS = {
    'scheme = "q4_0"\nrole = "atention"': ("$.rules[1].role: ", "did you mean 'attention'?"),
    'scheme = "q4_0"\nrole = ["head", "norms"]': ("$.rules[1].role", "did you mean 'norm'?"),
    'scheme = "q4_00"': ("$.rules[1].scheme: ", "did you mean q4_0"),
    'scheme = "int/affine[bits=4,grop=32]"': ("$.rules[1].scheme: ", "unknown knob 'grop'; it has"),
    'scheme = "ggml/iq2_xxs"': ("$.rules[1].scheme: ", "can be decoded but not encoded"),
    "scheme = 4": ("$.rules[1].scheme: ", "Expected `str`, got `int`"),
    'role = "head"': ("$.rules[1]: ", 'such as scheme = "ggml/q4_0", or keep'),
    'scheme = "q4_0"\nlayer = "0-3"': ("$.rules[1]: ", "did you mean 'layers'?"),
    'scheme = "q4_0"\nlayers = "0..3"': ("$.rules[1].layers: ", "is no list such as 0-3,29"),
    'scheme = "q4_0"\nlayers = "9-3"': ("$.rules[1].layers: ", "did you mean '3-9'?"),
    'scheme = "q4_0"\nmatch = "blk.(0"': ("$.rules[1].match: ", "missing ), unterminated"),
    'scheme = "q4_0"\nalgorithm = "gtpq"': ("$.rules[1].algorithm: ", "did you mean 'gptq'?"),
    'scheme = "q4_0"\nalgorithm = "gptq"\noptions = {dampng = 0.1}': (
        "$.rules[1].options: ",
        "did you mean 'damping'?",
    ),
    'scheme = "q4_0"\nalgorithm = "gptq"\noptions = {order = "activations"}': (
        "$.rules[1].options.order: ",
        "did you mean 'activation'?",
    ),
    'scheme = "keep"\nalgorithm = "gptq"': ("$.rules[1].algorithm: ", "keeps tensors has no"),
    'scheme = "q4_0"\nactivation = "ggml_block"': ("$.rules[1].activation: ", "say compute = "),
    'scheme = "q4_0"\ncompute = "dynamic"': ("$.rules[1].activation: ", "names one of litert"),
    'scheme = "q4_0"\ncompute = "dynamic"\nactivation = "xnnpack_asymetric"': (
        "$.rules[1].activation: ",
        "did you mean 'xnnpack_asymmetric'?",
    ),
    'scheme = "q4_0"\nfallback = ["q8_1x"]': ("$.rules[1].fallback: ", "did you mean q8_0"),
    'scheme = "q4_0"\nminimum_weights = -1': ("$.rules[1].minimum_weights: ", "it is negative"),
}
DOCUMENTS = {
    "rules = []": ("$.rules is empty", "expected at least one rule"),
    'name = "x"': ("$: ", "in TOML [[rules]]"),
    'recipe = 2\n[[rules]]\nscheme = "q4_0"': ("$.recipe: ", "version of refquant reads 1"),
    'precison = "float16"\n[[rules]]\nscheme = "q4_0"': ("$: ", "did you mean 'precision'?"),
    'fallback = ["nothing"]\n[[rules]]\nscheme = "q4_0"': ("$.fallback: ", "unknown scheme"),
    '[[rules]\nscheme = "q4_0"': ("mine.toml: ", "at line 1, column 8"),
}


@pytest.mark.parametrize("text", [*ERRORS, *DOCUMENTS])
def test_a_wrong_recipe_is_refused(capsys, tmp_path, model, text):
    places = {HEAD + rule: found for rule, found in ERRORS.items()} | DOCUMENTS
    whole = HEAD + text if text in ERRORS else text
    found = attempt(capsys, tmp_path, model, whole)
    assert (found.status, found.out) == (2, "")
    assert found.err.startswith("refquant: reading recipe ")
    assert found.err.count("\n") == 1
    for part in places[whole]:
        assert part in found.err
    assert not (tmp_path / "out.rq").exists()


OPTIONS = {
    "an impossible size": (
        ["--target-size", "1kB"],
        "a target of 0.01 MB cannot be reached: from 0.",
    ),
    "impossible bits": (["--target-bpw", "0.5"], "bits for each weight cannot be reached: from "),
    "no size": (["--target-size", "90 megs"], "expected a number of bytes such as 500MB"),
    "a candidate": (["--target-bpw", "4", "--candidates", "q4_00"], "did you mean q4_0"),
    "two ways": (["--scheme", "q4_0", "--recipe", "Q4_K_M"], "and not --scheme and --recipe"),
    "two targets": (["--target-bpw", "4", "--target-size", "1MB"], "and not --target-size and"),
    "no way": ([], "quantize needs one of --scheme, --recipe, "),
    "no file": (["--recipe", "mine.tml.toml"], "there is no such file"),
    "no name": (["--recipe", "Q4_K_N"], "did you mean 'Q4_K_S'?"),
    "half an override": (["--recipe", "Q4_K_M", "--tensor-type", "up"], "such as ffn_down=q6_k"),
    "an override": (["--recipe", "Q4_K_M", "--tensor-type", "up=q9_k"], "did you mean q6_k"),
    "a quantizer": (["--quantize", json.dumps({"linear:int5": {}})], "did you mean 'linear:int8'?"),
    "its option": (
        ["--quantize", json.dumps({"linear:int4": {"group_size": 32}})],
        "did you mean 'groupsize'?",
    ),
    "no dictionary": (["--quantize", "{"], "neither JSON nor a Python dictionary"),
    "a method": (["-c", "min_max_q4_1"], "did you mean 'min_max_q4_0'?"),
    "an unasked end": (["--recipe", "Q4_0", "--embedding-scheme", "f16"], "goes with --scheme"),
    "nothing learned": (["--scheme", "q4_0", "--algorithm", "gptq"], "--calibration FILE"),
}


@pytest.mark.parametrize("mistake", OPTIONS)
def test_wrong_options_are_refused(capsys, tmp_path, model, mistake):
    options, message = OPTIONS[mistake]
    found = call(capsys, "quantize", model, "-o", tmp_path / "out.rq", *options)
    assert (found.status, found.out) == (2, "")
    assert message in found.err
    assert not (tmp_path / "out.rq").exists()


WARNINGS = {
    'match = "blk.99.*"\nscheme = "q4_0"': "$.rules[1] (q4_0) took no tensor: no name matches",
    'match = "ffn_up"\nscheme = "q4_0"': "did you mean '.*ffn_up.*'?",
    'match = "blk.0.ffn_upp.weight"\nscheme = "q4_0"': "did you mean 'blk.0.ffn_up.weight'?",
    'role = "head"\nscheme = "q4_0"': "no tensor has the role head; there are attention,",
    'layers = "40-50"\nscheme = "q4_0"': "no tensor is in layers 40-50; they are 0 to 1",
    'role = "embedding"\nscheme = "q4_0"': "took all that it selects ($.rules[0]); put it before",
    'role = "attention"\nscheme = "q4_0"': "$.rules[1].scheme: ggml/q4_0 does not fit: axis -1 has "
    "36 weights, expected a multiple of 32 (blk.0.attn_k.weight); so it is with 8 of the rule's 8 "
    "tensors; they get int/affine[bits=8,sym,channel] (name another as `fallback`)",
}


@pytest.mark.parametrize("rule", WARNINGS)
def test_a_doubtful_recipe_is_followed_with_a_warning(capsys, tmp_path, model, rule):
    found = attempt(capsys, tmp_path, model, HEAD + rule, "--dry-run")
    assert found.status == 0
    assert found.err.startswith("refquant: warning: $.rules[")
    assert WARNINGS[rule] in found.err
