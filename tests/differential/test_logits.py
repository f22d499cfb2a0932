"""Our logits for SmolLM2 beside those of transformers and llama.cpp, within a derived bound."""

import pytest

from refquant.formats import open_checkpoint
from refquant.runtime import GenerateOptions, Tokenizer, generate, load_model
from tests.differential import logits_smollm2
from tests.differential.logits_smollm2 import Comparison

pytestmark = pytest.mark.differential


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("logits")


@pytest.fixture(scope="module")
def ours(smollm2_gguf, folder):
    return logits_smollm2.write_inputs(smollm2_gguf, folder)


@pytest.fixture(scope="module")
def found(oracle, ours, folder):
    """What the torch worker finds; it also computes the bounds for every comparison."""
    return logits_smollm2.run_worker(oracle("torch"), "transformers", folder)


def judge(comparison):
    print(comparison.report())
    assert max(comparison.strays) <= 1
    assert comparison.agreeing[comparison.decided].all()
    # Bounds wider than the margins would let everything pass.
    assert comparison.decided.mean() >= 0.9


def test_logits_agree_with_transformers(ours, found):
    judge(Comparison("transformers", ours, **found))


def test_logits_agree_with_llama_cpp(oracle, smollm2_gguf, ours, found, folder):
    answer = logits_smollm2.ask_llama_cpp(smollm2_gguf, oracle("llama"), folder)
    quantized = answer.pop("quantized")
    judge(Comparison("llama.cpp", ours, **(found | answer)))
    print(Comparison("llama.cpp, quantized", ours, **(found | {"theirs": quantized})).report())


def test_the_bound_notices_a_wrong_epsilon(smollm2_gguf, ours, found):
    checkpoint = open_checkpoint(smollm2_gguf)
    checkpoint.architecture.fields["norm_epsilon"] *= 10
    model = load_model(checkpoint)
    tokens = Tokenizer(checkpoint.tokenizer).encode(logits_smollm2.TEXT)[: len(ours)]
    wrong = model.forward(tokens, model.new_cache(len(tokens)))
    assert Comparison("wrong", wrong, **found).strays[0] > 1


def test_the_capital_of_france(smollm2_gguf):
    checkpoint = open_checkpoint(smollm2_gguf)
    tokenizer = Tokenizer(checkpoint.tokenizer)
    prompt = tokenizer.encode("The capital of France is")
    for weights in ("float32", "packed"):
        steps = generate(
            load_model(checkpoint, weights),
            prompt,
            GenerateOptions(max_tokens=8),
            tokenizer=tokenizer,
        )
        assert "".join(step.text for step in steps).startswith(" Paris")
