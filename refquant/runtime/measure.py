"""How quick a model is here, and how quick this machine could be.

All times are of the wall clock: what else runs on the machine takes part. So the limits are
measured beside the model, and the ratio to them says more than a rate.
"""

import cProfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Final

import numpy as np

from refquant.runtime.blas import limit_blas_threads
from refquant.runtime.model import Model

__all__ = ["Limits", "Measured", "held_memory", "limits", "measure"]

OPERATIONS: Final = {
    "linear": "matrices",
    "attend": "attention",
    "normalize": "norms",
    "swiglu": "gates",
    "geglu": "gates",
    "clamped_swiglu": "gates",
    "gelu": "gates",
    "gelu_tanh": "gates",
    "turn": "rotation",
    "write": "cache",
    "embed": "embedding",
}
"""Which operation a function of the runtime is. What workers bend is part of the matrices."""

PASSES: Final = ("blocks", "decoder")
"""The modules whose functions call them one after another."""

# A matrix of 256 MiB is larger than caches; products of 1024 x 1024 are as quick as any.
BANDWIDTH_SHAPE: Final = (16384, 4096)
PRODUCT_SIZE: Final = 1024
TRIES: Final = 3


@dataclass(frozen=True, slots=True)
class Limits:
    """What this machine reads from memory, and multiplies, in a second."""

    bytes_per_second: float
    operations_per_second: float


@dataclass(frozen=True, slots=True)
class Measured:
    """Medians over the repetitions; `operations` are shares of the time of writing a token.

    `memory` is what the model's processes hold after the repetitions, None where nobody tells.
    """

    prompt_tokens: int
    tokens: int
    prefill_seconds: float
    decode_seconds: float
    operations: Mapping[str, float]
    memory: int | None = None

    @property
    def prefill_rate(self) -> float:
        """Tokens of a prompt read in a second."""
        return self.prompt_tokens / self.prefill_seconds

    @property
    def decode_rate(self) -> float:
        """Tokens written in a second."""
        return 1 / self.decode_seconds


def measure(
    model: Model,
    prompt: Sequence[int],
    *,
    tokens: int,
    repeats: int,
    done: Callable[[], None] = lambda: None,
) -> Measured:
    """Read a prompt and write `tokens` more, greedily, `repeats` times; once more with a profile.

    `done` is called after each time.
    """
    prefills, steps = [], []
    for _ in range(repeats):
        prefill, decode, _ = _once(model, prompt, tokens)
        prefills.append(prefill)
        steps.extend(decode)
        done()
    memory = held_memory(model)
    profile = cProfile.Profile()
    _, profiled, shares = _once(model, prompt, tokens, profile)
    done()
    total = sum(profiled)
    operations = {name: seconds / total for name, seconds in shares.items()}
    operations["other"] = max(0.0, 1 - sum(operations.values()))
    return Measured(len(prompt), tokens, median(prefills), median(steps), operations, memory)


def _once(
    model: Model, prompt: Sequence[int], tokens: int, profile: cProfile.Profile | None = None
) -> tuple[float, list[float], dict[str, float]]:
    """Seconds of the prompt and of each token; with a profile also those of each operation."""
    cache = model.new_cache(len(prompt) + tokens)
    began = time.perf_counter()
    token = int(model.next_logits(prompt, cache).argmax())
    prefill = time.perf_counter() - began
    steps = []
    for _ in range(tokens):
        began = time.perf_counter()
        if profile is None:
            logits = model.next_logits([token], cache)
        else:
            logits = profile.runcall(model.next_logits, [token], cache)
        token = int(logits.argmax())
        steps.append(time.perf_counter() - began)
    return prefill, steps, {} if profile is None else _by_operation(profile)


def _by_operation(profile: cProfile.Profile) -> dict[str, float]:
    """Seconds of what the passes of the model call; not of what these operations call."""
    found: dict[str, float] = {}
    for caller in profile.getstats():
        if isinstance(caller.code, str) or Path(caller.code.co_filename).stem not in PASSES:
            continue
        for called in caller.calls or ():
            name = "" if isinstance(called.code, str) else called.code.co_name
            if name in OPERATIONS:
                operation = OPERATIONS[name]
                found[operation] = found.get(operation, 0.0) + called.totaltime
    return found


def held_memory(model: Model | None = None) -> int | None:
    """Bytes of memory that this process and a model's workers hold; None where nobody tells.

    What they share counts once. Pages of files do not count: the system has them in any case, and
    takes them back when it likes.
    """
    try:
        status = Path("/proc/self/status")
        total = _kilobytes(status, "RssAnon:") + _kilobytes(status, "RssShmem:")
        for pid in () if model is None or model.crew is None else model.crew.pids:
            total += _kilobytes(Path(f"/proc/{pid}/smaps_rollup"), "Private_Dirty:")
    except OSError:
        return None
    return 1024 * total


def _kilobytes(path: Path, word: str) -> int:
    lines = path.read_text("ascii").splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith(word))


def limits(model: Model | None = None) -> Limits:
    """Read and multiply as much as this machine can, with as many threads as the model has."""
    if model is None or model.crew is None:
        return _limits()
    limit_blas_threads(model.crew.size)
    try:
        return _limits()
    finally:
        limit_blas_threads(1)


def _limits() -> Limits:
    matrix, vector = np.ones(BANDWIDTH_SHAPE, np.float32), np.ones(BANDWIDTH_SHAPE[1], np.float32)
    reading = min(_seconds(lambda: matrix @ vector) for _ in range(TRIES))
    square = np.ones((PRODUCT_SIZE, PRODUCT_SIZE), np.float32)
    product = min(_seconds(lambda: square @ square) for _ in range(TRIES))
    return Limits(matrix.nbytes / reading, 2 * PRODUCT_SIZE**3 / product)


def _seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began
