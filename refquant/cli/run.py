"""`refquant run`: write text with a model, as it comes."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from refquant.cli.chat import Chatting, chat_with
from refquant.cli.computing import Computing, compute_of, loaded
from refquant.cli.mask_options import diffusion_options
from refquant.cli.opening import loading, opened, without_collecting
from refquant.cli.processes import one_thread_each
from refquant.cli.prompt_cache import check_writing, opened_cache, saved
from refquant.cli.prompt_source import PromptSource, read_prompt
from refquant.cli.prompts import continue_each
from refquant.cli.run_output import report, stream
from refquant.cli.run_request import Printing, Request
from refquant.cli.run_stats import Begun, print_stats
from refquant.cli.sampling_options import Sampling
from refquant.cli.writing import Writing, writing_of

if TYPE_CHECKING:
    from refquant.runtime.trace import Trace

__all__ = ["run"]


def run(
    model: Annotated[
        str, Parameter(help="A .rq or .gguf file, a Hugging Face folder, or a known name.")
    ],
    /,
    *,
    source: PromptSource | None = None,
    computing: Computing | None = None,
    sampling: Sampling | None = None,
    printing: Printing | None = None,
    chatting: Chatting | None = None,
) -> int:
    """Write text with a model.

    The continuation of the prompt goes to stdout, piece by piece as it is written. By default
    every token is the most probable one, so that the same prompt gives the same text;
    --temperature makes it draw. A newline at the very end of a prompt from a file or from stdin is
    not part of it. Known names are listed by `refquant pull --list`; `demo` is always there.

    For example:
      refquant run demo --prompt "It is a truth" -n 60
      refquant run smollm2-135m --prompt "The capital of France is" -n 8 --stats
      echo "Once upon a time" | refquant run demo --prompt - --temperature 0.8 --seed 3
      refquant run model.gguf -f prompt.txt --stop "###" --json
      refquant run demo -p "It is" -n 8 --arith exact --json --logprobs
      refquant run demo -p "It is" -n 8 --trace states.npz
      refquant run smollm2-135m -p "The sea" -n 8 --compute ggml_block
      refquant run demo -p "It is" -n 8 --precision bfloat16 --cache-type int8 --stats
      refquant run demo -f long.txt -n 8 --save-cache long.rq
      refquant run demo -f longer.txt -n 8 --load-cache long.rq
      refquant run demo --prompts questions.txt -n 20
      refquant run smollm2-135m --chat --jinja --system "Answer in one sentence."
    """
    one_thread_each()
    request = Request(
        source or PromptSource(),
        computing or Computing(),
        sampling or Sampling(),
        printing or Printing(),
        chatting or Chatting(),
    )
    with without_collecting():
        from refquant.library import locate

        request.check()
        path, writing = locate(model), writing_of(request.sampling)
    if request.chatting.chat:
        return chat_with(path, request.computing, writing, request.chatting)
    if request.source.prompts is not None:
        return continue_each(request.source.prompts, path, request.computing, writing)
    return _continue(model, path, request, writing)


def _continue(model: str, path: Path | str, request: Request, writing: Writing) -> int:
    """Continue one prompt."""
    computing, printing = request.computing, request.printing
    text = read_prompt(request.source)
    check_writing(computing, path)
    began = time.perf_counter()
    with loading(model):
        begun = _begin(path, text, computing, writing)
    begun.load_seconds = time.perf_counter() - began
    if printing.json:
        held = _held(begun, computing)
        facts = {"model": model, **held, "prompt": text, "prompt_ids": begun.ids}
        written = report(begun, facts)
    else:
        written = stream(begun.generation, text if printing.echo else "")
    if computing.trace is not None and begun.trace is not None:
        begun.trace.write(computing.trace)
    saved(computing, begun.model, begun.cache, [*begun.ids, *written])
    if printing.stats:
        print_stats(begun)
    return 0


def _begin(path: Path | str, text: str, computing: Computing, writing: Writing) -> Begun:
    """Open the model and check the request; nothing has been computed yet."""
    from refquant.runtime import Tokenizer, generate
    from refquant.runtime.decoder import watch_nothing

    with opened(path) as checkpoint:
        tokenizer = Tokenizer(checkpoint.need_tokenizer())
        ids = tokenizer.encode(text)
        model = loaded(checkpoint, computing)
    chosen = writing.fitting(tokenizer, model.context - len(ids))
    trace = _new_trace() if computing.trace is not None else None
    # More than the context is refused by `generate`, and must not be asked of memory before.
    most = min(len(ids) + chosen.max_tokens, model.context)
    cache = opened_cache(computing, model, ids, most)
    cached = 0 if cache is None else cache.length
    generation = generate(
        model,
        ids,
        chosen,
        tokenizer=tokenizer,
        diffusion=diffusion_options(writing.filling, model),
        watch=watch_nothing if trace is None else trace.watch,
        cache=cache,
    )
    return Begun(ids, generation, model, cache, cached, trace)


def _new_trace() -> "Trace":
    from refquant.runtime.trace import Trace

    return Trace()


def _held(begun: Begun, computing: Computing) -> dict[str, Any]:
    """How the model is held and computes, by the names of the options."""
    return {
        "weights": computing.weights,
        "arith": computing.arith,
        "compute": compute_of(begun.model, computing.compute),
        "precision": begun.model.precision,
        "cache_type": begun.model.cache_type,
    }
