"""What choosing codes with an algorithm gains over rounding to nearest, as a Markdown table.

    python tools/measure_algorithms.py demo
    python tools/measure_algorithms.py smollm2-135m --windows 3 --algorithms rtn hqq gptq

Scheme, bits and group are the same in each part of the table, and only the algorithm differs. The
matrices of attention and the networks take the scheme, the ends of the model stay as they are. The
first half of the text that demo's training left out is what algorithms learn from, the second half
is what models are judged on, in windows of 512 tokens whose second half is scored. The divergence
is that of Kullback and Leibler from the unquantized model, in nats a token; its gain is the mean of
the difference from RTN at each token, with its standard error. `hadamard` is RTN of the rotated
model.
"""

import argparse
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.resources import files

# BLAS reads the number of its threads when NumPy is loaded.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np

from refquant.calibrate import RangeRule
from refquant.evaluate import Divergence, Recorded, divergence
from refquant.formats import Checkpoint, open_checkpoint
from refquant.library import resolve
from refquant.quantization import Knowledge, quantized_plan
from refquant.quantization.algorithms import LEARNING
from refquant.quantization.folding import folded, folded_importance, folds_of
from refquant.quantization.inputs import InputMoments, collect_inputs, cut_windows
from refquant.quantization.ranges import calibrated, collect_ranges, needs_ranges
from refquant.quantization.rotation import rotated_checkpoint
from refquant.recipe import Assignment, Recipe, Rule, assign
from refquant.runtime import Model, Tokenizer, load_model
from refquant.schemes import scheme as find_scheme
from refquant.tensor import QuantizedTensor

WINDOW = 512


@dataclass(frozen=True)
class Case:
    """A scheme, how its matrices are multiplied, and the algorithms that are compared under it."""

    scheme: str
    algorithms: Sequence[str]
    compute: str = "weight-only"
    activation: str = ""
    layers: str = ""
    options: Mapping[str, Mapping[str, object]] = field(default_factory=dict)


EVERY = ("rtn", "mse", "hqq", "imatrix", "gptq", "awq")
CASES = (
    Case("hqq/affine[bits=4,group=64]", EVERY),
    Case("hqq/affine[bits=3,group=64]", EVERY),
    Case("int/affine[bits=4,group=64]", ("rtn", "mse", "octav", "imatrix", "gptq", "awq")),
    Case("int/affine[bits=3,group=64]", ("rtn", "mse", "octav", "imatrix", "gptq", "awq")),
    Case("int/affine[bits=4,channel]", ("rtn", "percentile", "mse", "octav", "gptq")),
    Case("ggml/q4_0", ("rtn", "mse", "imatrix", "gptq", "awq")),
    Case("ggml/q3_k", ("rtn", "mse", "imatrix", "gptq", "awq")),
    Case("aeq/int8", ("rtn", "smoothquant", "hadamard"), "static", "int8_static"),
    Case("aeq/int8", ("rtn", "smoothquant", "hadamard"), "dynamic", "litert_symmetric"),
)


class Bench:
    """A model, the texts, and everything that is computed once."""

    def __init__(self, name: str, windows: int, learned: int) -> None:
        self.checkpoint = open_checkpoint(resolve(name))
        self.model = load_model(self.checkpoint, compute="weight-only")
        tokenizer = Tokenizer(self.checkpoint.need_tokenizer())
        text = (files("refquant") / "demo" / "heldout.txt").read_text("utf-8")
        half = len(text) // 2
        self.learn = tokenizer.encode(text[:half], add_bos=False)
        self.judge = tokenizer.encode(text[half:], add_bos=False)
        self.windows, self.learned = windows, learned
        self.recorded = Recorded(self.model)
        self._moments: dict[str, InputMoments] = {}

    @property
    def moments(self) -> dict[str, InputMoments]:
        """What every matrix reads of the text that is learned from."""
        if not self._moments:
            self._moments = collect_inputs(self.model, self.learn, windows=self.learned)
        return self._moments

    def fits(self, case: Case) -> bool:
        """Whether most matrices can take the scheme at all."""
        decided = assign(self.checkpoint, _recipe(case, "rtn"))
        taken = [one for one in decided if one.rule is not None]
        return sum(one.is_fallback for one in taken) < len(taken) / 2

    def judged(self, case: Case, algorithm: str) -> tuple[Divergence, float]:
        """The divergence of a quantized model, and its bits per weight of what was quantized."""
        source = self.checkpoint
        if algorithm == "hadamard":
            source, algorithm = rotated_checkpoint(source), "rtn"
        decided = assign(source, _recipe(case, algorithm))
        made = quantized(source, decided, self._knowledge(source, decided))
        model = load_model(made)
        found = divergence(
            model, self.recorded, self.judge, window=WINDOW, windows=self.windows, bos=self._bos
        )
        taken = [one for one in decided if one.rule is not None]
        bits = 8 * sum(one.nbytes for one in taken) / sum(one.weights for one in taken)
        return found, bits

    @property
    def _bos(self) -> int | None:
        spec = self.checkpoint.need_tokenizer()
        return spec.bos if spec.add_bos else None

    def _knowledge(self, source: Checkpoint, decided: Sequence[Assignment]) -> Knowledge:
        learns = any(one.algorithm in LEARNING for one in decided)
        moments = self.moments if learns else {}
        folds = folds_of(source, decided, moments)
        names = needs_ranges(decided)
        static = {}
        if names:
            model: Model = load_model(folded(source, folds), compute="weight-only")
            batches = cut_windows(model, self.learn, WINDOW, self.learned)
            ranges = collect_ranges(model, batches, RangeRule(), names=names)
            static = calibrated(decided, ranges)
        importance = {name: one.importance for name, one in moments.items()}
        importance = folded_importance(importance, folds)
        return Knowledge(moments=moments, importance=importance, folds=folds, static=static)


def _recipe(case: Case, algorithm: str) -> Recipe:
    rule = Rule(
        scheme=case.scheme,
        role=("attention", "feedforward"),
        compute=case.compute,  # type: ignore[arg-type]  # a word of the recipe's
        activation=case.activation,
        layers=case.layers,
        algorithm=algorithm,  # type: ignore[arg-type]
        options=dict(case.options.get(algorithm, {})),  # type: ignore[arg-type]
    )
    return Recipe(rules=(rule,))


def quantized(
    checkpoint: Checkpoint, decided: Sequence[Assignment], knowledge: Knowledge
) -> Checkpoint:
    """The checkpoint that a file would hold, in memory."""
    plan = quantized_plan(checkpoint, decided, info={}, knowledge=knowledge)
    tensors = {}
    for one in plan.tensors:
        scheme = find_scheme(one.label)
        planes = {name: np.asarray(data) for name, data in one.produce().items()}
        tensors[one.name] = QuantizedTensor(scheme, one.shape, planes)
    return replace(checkpoint, tensors=tensors, extensions=dict(plan.extensions))


def rows(bench: Bench, case: Case) -> None:
    """The lines of one scheme, RTN first."""
    base: Divergence | None = None
    for algorithm in case.algorithms:
        began = time.process_time()
        found, bits = bench.judged(case, algorithm)
        name = find_scheme(case.scheme).name
        shown = f"`{name}`" + (f" {case.activation}" if case.activation else "")
        gain = "" if base is None else _gain(base, found)
        base = base or found
        print(
            f"| {shown} | {algorithm} | {bits:.3f} | {found.kl.value:.5f} ± {found.kl.error:.5f} "
            f"| {gain} | {100 * found.same_top.value:.1f} % | {found.model.value:.2f} "
            f"| {time.process_time() - began:.0f} s |",
            flush=True,
        )


def _gain(base: Divergence, found: Divergence) -> str:
    """How much less the divergence is, token by token."""
    less = base.each - found.each
    error = less.std(ddof=1) / np.sqrt(len(less))
    return f"{less.mean():+.5f} ± {error:.5f}"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("--windows", type=int, default=12)
    parser.add_argument("--calibration-windows", type=int, default=32)
    parser.add_argument("--only", default="", help="schemes whose name contains this")
    parser.add_argument("--algorithms", nargs="*", default=(), help="only these")
    parser.add_argument("--layers", default="", help="quantize these only, such as 0-9")
    options = parser.parse_args()
    bench = Bench(options.model, options.windows, options.calibration_windows)
    print(
        "| scheme | algorithm | bits per weight | divergence | less than RTN | same top |", end=""
    )
    print(" perplexity | processor |\n| --- | --- | --- | --- | --- | --- | --- | --- |")
    for case in CASES:
        chosen = [one for one in case.algorithms if one in (options.algorithms or case.algorithms)]
        if options.only in case.scheme and len(chosen) > 1 and bench.fits(case):
            rows(bench, replace(case, algorithms=chosen, layers=options.layers))


if __name__ == "__main__":
    main()
