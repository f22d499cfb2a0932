"""`refquant bench`: how quick a model is on this machine, and what the machine could do."""

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from refquant.cli.computing import compute_of
from refquant.cli.output import emit_json, format_bytes, peak_memory, print_pairs
from refquant.cli.processes import Workers, choose_workers, one_thread_each
from refquant.cli.progress import status
from refquant.errors import LimitError, UsageError

if TYPE_CHECKING:
    from refquant.runtime import Model
    from refquant.runtime.measure import Limits, Measured

__all__ = ["bench"]

_MOST_REPEATS = 1000


@Parameter(name="*")
@dataclass(frozen=True, slots=True)
class Effort:
    """How much is measured, as options."""

    prompt_tokens: Annotated[int, Parameter(help="Tokens of the prompt.")] = 128
    tokens: Annotated[int, Parameter(help="Tokens to write after it.")] = 32
    repeats: Annotated[int, Parameter(help="Times to measure; medians are printed.")] = 3

    def check(self) -> None:
        """Refuse, before any work, to measure nothing, or for ever."""
        for name, value in asdict(self).items():
            if value < 1:
                raise UsageError(f"--{name.replace('_', '-')} is {value}, expected 1 or more")
        if self.repeats > _MOST_REPEATS:
            raise UsageError(f"--repeats is {self.repeats}, expected at most {_MOST_REPEATS}")


@Parameter(name="*")
@dataclass(frozen=True, slots=True)
class Setup:
    """How the model computes while it is measured, as options."""

    weights: Annotated[
        Literal["auto", "float32", "u8", "packed"],
        Parameter(help="How weights are held, as for `run`."),
    ] = "auto"
    workers: Workers = None
    arith: Annotated[
        Literal["fast", "exact"], Parameter(help="How sums are rounded, as for `run`.")
    ] = "fast"
    compute: Annotated[str | None, Parameter(help="The contract of products, as for `run`.")] = None


def bench(
    model: Annotated[
        str, Parameter(help="A .rq or .gguf file, a Hugging Face folder, or a known name.")
    ],
    /,
    *,
    effort: Effort | None = None,
    setup: Setup | None = None,
    json: Annotated[bool, Parameter(help="Print one JSON object instead of text.")] = False,
) -> int:
    """Measure how quick a model is on this machine.

    Prints the rates of reading a prompt and of writing after it, the time to load, memory of all
    its processes beyond what the interpreter takes before (and the peak with pages of files), and
    what share of a token's time each operation takes. Two limits are measured on the spot: how fast
    memory is read, which bounds writing, and how fast BLAS multiplies, which bounds reading a
    prompt. The prompt is made of token ids drawn with a fixed seed. Whatever else runs on the
    machine makes all of it slower.

    For example:
      refquant bench demo
      refquant bench smollm2-135m --weights packed --json
    """
    one_thread_each()
    effort, setup = effort or Effort(), setup or Setup()
    effort.check()
    facts = _measured(model, effort, setup)
    if json:
        emit_json("bench", facts)
    else:
        _print(facts)
    return 0


def _measured(name: str, effort: Effort, setup: Setup) -> dict[str, Any]:
    """Everything that is printed, by the names that `--json` gives it."""
    from refquant.library import locate
    from refquant.runtime.measure import held_memory, limits, measure

    with status(f"loading {name}"):
        path, before = locate(name), held_memory()
        began = time.perf_counter()
        model = _loaded(path, setup)
    load_seconds = time.perf_counter() - began
    prompt = _prompt(model, effort)
    with status(f"measuring {name}"):
        found = measure(model, prompt, tokens=effort.tokens, repeats=effort.repeats)
        peak = peak_memory()
        machine = limits(model)
    return {
        "model": name,
        "weights": setup.weights,
        "arith": setup.arith,
        "compute": compute_of(model, setup.compute),
        "workers": None if model.crew is None else model.crew.size,
        "load_seconds": load_seconds,
        "prompt_tokens": effort.prompt_tokens,
        "prompt_tokens_per_second": found.prefill_rate,
        "first_token_seconds": found.prefill_seconds,
        "tokens_per_second": found.decode_rate,
        **_sizes(model, found, before),
        "peak_memory_bytes": peak,
        "operations": dict(found.operations),
        **_shares(model, found, machine),
    }


def _sizes(model: "Model", found: "Measured", before: int | None) -> dict[str, Any]:
    """Memory, `before` of which the interpreter took; None where nobody tells."""
    from refquant.runtime.held import held

    size = held(model)
    grown = None if found.memory is None or before is None else found.memory - before
    return {
        "weight_bytes": size.nbytes,
        "bytes_per_weight": size.nbytes / size.weights,
        "interpreter_bytes": before,
        "memory_bytes": grown,
        "memory_of_weights": None if grown is None else grown / size.nbytes,
    }


def _shares(model: "Model", found: "Measured", machine: "Limits") -> dict[str, Any]:
    """The two limits of the machine, and how much of them reading and writing use."""
    from refquant.runtime.held import held

    size = held(model)
    return {
        "memory_bytes_per_second": machine.bytes_per_second,
        "blas_operations_per_second": machine.operations_per_second,
        "of_memory": size.nbytes * found.decode_rate / machine.bytes_per_second,
        "of_blas": 2 * size.weights * found.prefill_rate / machine.operations_per_second,
    }


def _loaded(path: Path | str, setup: Setup) -> "Model":
    from refquant.formats import open_checkpoint
    from refquant.runtime import load_model

    checkpoint = open_checkpoint(path)
    count = choose_workers(setup.workers, checkpoint)
    model = load_model(checkpoint, setup.weights, setup.arith, setup.compute, workers=count)
    if model.fills_masks:
        raise UsageError("a model that fills in masks has no rate of one token after another")
    return model


def _prompt(model: "Model", effort: Effort) -> list[int]:
    """Token ids drawn with a fixed seed; LimitError where the context is too short for them."""
    import numpy as np

    count = effort.prompt_tokens
    if count + effort.tokens > model.context:
        raise LimitError(
            f"{count} tokens and {effort.tokens} more exceed the model's context of "
            f"{model.context}; lower --prompt-tokens or --tokens"
        )
    ids: list[int] = np.random.default_rng(0).integers(0, model.vocabulary, count).tolist()
    return ids


def _memory(facts: dict[str, Any]) -> str | None:
    if facts["memory_bytes"] is None or facts["peak_memory_bytes"] is None:
        return None
    return (
        f"{format_bytes(facts['memory_bytes'])} above the interpreter's "
        f"{format_bytes(facts['interpreter_bytes'])}, {facts['memory_of_weights']:.2f} of the "
        f"weights; at most {format_bytes(facts['peak_memory_bytes'])}"
    )


def _print(facts: dict[str, Any]) -> None:
    first = f"{facts['first_token_seconds']:.3f} s"
    reading = f"{facts['prompt_tokens_per_second']:.1f} tokens/s, first token after {first}"
    reads = f"{format_bytes(facts['memory_bytes_per_second'])}/s"
    held = f"{format_bytes(facts['weight_bytes'])} held as {facts['weights']}"
    products = f"{facts['blas_operations_per_second'] / 1e9:.0f} GFLOP/s"
    shares = sorted(facts["operations"].items(), key=lambda one: -one[1])
    print_pairs(
        [
            ("loading", f"{facts['load_seconds']:.2f} s"),
            ("reading", reading),
            ("writing", f"{facts['tokens_per_second']:.1f} tokens/s"),
            ("weights", f"{held}, {facts['bytes_per_weight']:.3g} bytes a weight"),
            ("memory", _memory(facts)),
            ("memory reads", f"{reads}; writing uses {facts['of_memory']:.0%} of it"),
            ("BLAS", f"{products}; reading uses {facts['of_blas']:.0%} of it"),
            *((name, f"{share:.1%} of a token") for name, share in shares),
        ]
    )
