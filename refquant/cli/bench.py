"""`refquant bench`: how quick a model is on this machine, and what the machine could do."""

import time
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from refquant.cli.output import emit_json, format_bytes, peak_memory, print_pairs
from refquant.cli.progress import status
from refquant.errors import LimitError, UsageError

if TYPE_CHECKING:
    from refquant.runtime import Model

__all__ = ["bench"]


def bench(
    model: Annotated[
        str, Parameter(help="A .rq or .gguf file, a Hugging Face folder, or a known name.")
    ],
    /,
    *,
    prompt_tokens: Annotated[int, Parameter(help="Tokens of the prompt.")] = 128,
    tokens: Annotated[int, Parameter(help="Tokens to write after it.")] = 32,
    repeats: Annotated[int, Parameter(help="Times to measure; medians are printed.")] = 3,
    weights: Annotated[
        Literal["auto", "float32", "u8", "packed"],
        Parameter(help="How weights are held, as for `run`."),
    ] = "float32",
    arith: Annotated[
        Literal["fast", "exact"], Parameter(help="How sums are rounded, as for `run`.")
    ] = "fast",
    compute: Annotated[
        str | None, Parameter(help="The contract of products, as for `run`.")
    ] = None,
    json: Annotated[bool, Parameter(help="Print one JSON object instead of text.")] = False,
) -> int:
    """Measure how quick a model is on this machine.

    Prints the rates of reading a prompt and of writing after it, the time to load, memory, and what
    share of a token's time each operation takes. Two limits are measured on the spot: how fast
    memory is read, which bounds writing, and how fast BLAS multiplies, which bounds reading a
    prompt. The prompt is made of token ids drawn with a fixed seed. Whatever else runs on the
    machine makes all of it slower.

    For example:
      refquant bench demo
      refquant bench smollm2-135m --weights packed --json
    """
    from refquant.runtime.held import held
    from refquant.runtime.measure import limits, measure

    for name, value in (("prompt-tokens", prompt_tokens), ("tokens", tokens), ("repeats", repeats)):
        if value < 1:
            raise UsageError(f"--{name} is {value}, expected 1 or more")
    began = time.perf_counter()
    with status(f"loading {model}"):
        loaded = _loaded(model, weights, arith, compute)
    load_seconds = time.perf_counter() - began
    if prompt_tokens + tokens > loaded.context:
        raise LimitError(
            f"{prompt_tokens} tokens and {tokens} more exceed the model's context of "
            f"{loaded.context}; lower --prompt-tokens or --tokens"
        )
    with status(f"measuring {model}"):
        machine = limits()
        found = measure(loaded, _prompt(loaded, prompt_tokens), tokens=tokens, repeats=repeats)
    size = held(loaded)
    facts = {
        "model": model,
        "weights": weights,
        "arith": arith,
        "compute": compute,
        "load_seconds": load_seconds,
        "prompt_tokens": prompt_tokens,
        "prompt_tokens_per_second": found.prefill_rate,
        "first_token_seconds": found.prefill_seconds,
        "tokens_per_second": found.decode_rate,
        "weight_bytes": size.nbytes,
        "peak_memory_bytes": peak_memory(),
        "operations": dict(found.operations),
        "memory_bytes_per_second": machine.bytes_per_second,
        "blas_operations_per_second": machine.operations_per_second,
        "of_memory": size.nbytes * found.decode_rate / machine.bytes_per_second,
        "of_blas": 2 * size.weights * found.prefill_rate / machine.operations_per_second,
    }
    if json:
        emit_json("bench", facts)
    else:
        _print(facts)
    return 0


def _loaded(model: str, weights: Any, arith: Any, compute: str | None) -> "Model":
    from refquant.formats import open_checkpoint
    from refquant.library import locate
    from refquant.runtime import load_model

    loaded = load_model(open_checkpoint(locate(model)), weights, arith, compute)
    if loaded.fills_masks:
        raise UsageError("a model that fills in masks has no rate of one token after another")
    return loaded


def _prompt(model: "Model", count: int) -> list[int]:
    import numpy as np

    ids: list[int] = np.random.default_rng(0).integers(0, model.vocabulary, count).tolist()
    return ids


def _print(facts: dict[str, Any]) -> None:
    memory, first = facts["peak_memory_bytes"], f"{facts['first_token_seconds']:.3f} s"
    reading = f"{facts['prompt_tokens_per_second']:.1f} tokens/s, first token after {first}"
    reads = f"{format_bytes(facts['memory_bytes_per_second'])}/s"
    products = f"{facts['blas_operations_per_second'] / 1e9:.0f} GFLOP/s"
    shares = sorted(facts["operations"].items(), key=lambda one: -one[1])
    print_pairs(
        [
            ("loading", f"{facts['load_seconds']:.2f} s"),
            ("reading", reading),
            ("writing", f"{facts['tokens_per_second']:.1f} tokens/s"),
            ("weights", f"{format_bytes(facts['weight_bytes'])} held as {facts['weights']}"),
            ("peak memory", None if memory is None else format_bytes(memory)),
            ("memory reads", f"{reads}; writing uses {facts['of_memory']:.0%} of it"),
            ("BLAS", f"{products}; reading uses {facts['of_blas']:.0%} of it"),
            *((name, f"{share:.1%} of a token") for name, share in shares),
        ]
    )
