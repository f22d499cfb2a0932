"""`refquant run`: write text with a model, as it comes."""

import gc
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from refquant.cli.chat import Chatting, converse, spelling
from refquant.cli.checked import checked_meanwhile
from refquant.cli.computing import Computing, compute_of, loaded
from refquant.cli.mask_options import diffusion_options
from refquant.cli.output import emit_json
from refquant.cli.processes import one_thread_each
from refquant.cli.progress import status
from refquant.cli.prompt_cache import check_writing, opened_cache, saved
from refquant.cli.prompts import answer_all, read_prompts
from refquant.cli.run_stats import Begun, print_stats, stats
from refquant.cli.sampling_options import Sampling
from refquant.cli.writing import Writing, writing_of
from refquant.errors import UnsupportedError, UsageError

if TYPE_CHECKING:
    from refquant.formats import Checkpoint
    from refquant.runtime import Generation
    from refquant.runtime.trace import Trace

__all__ = ["run"]

_CONTROLS = {
    code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160)) if chr(code) not in "\n\t"
}
"""Control characters that a model may write and a terminal must not obey."""


@Parameter(name="*")
@dataclass(frozen=True, slots=True)
class Printing:
    """What is printed, as options."""

    echo: Annotated[bool, Parameter(help="Print the prompt before its continuation.")] = False
    stats: Annotated[bool, Parameter(help="Print speed and memory to stderr.")] = False
    json: Annotated[bool, Parameter(help="Print one JSON object instead of text.")] = False


def run(
    model: Annotated[
        str, Parameter(help="A .rq or .gguf file, a Hugging Face folder, or a known name.")
    ],
    /,
    *,
    prompt: Annotated[
        str | None,
        Parameter(
            name=["--prompt", "-p"],
            help="Text to continue; - reads stdin.",
            allow_leading_hyphen=True,
        ),
    ] = None,
    file: Annotated[
        Path | None, Parameter(name=["--file", "-f"], help="Read the prompt from a file.")
    ] = None,
    prompts: Annotated[
        Path | None,
        Parameter(
            help="Continue every line of a file, or every string or object with prompt of a .jsonl "
            "file; prints a line of JSON for each."
        ),
    ] = None,
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
    with _without_collecting():
        from refquant.library import locate
        from refquant.runtime.trace import Trace, check_ending

    shown, chosen = printing or Printing(), computing or Computing()
    if sampling is not None and sampling.logprobs and not (shown.json or prompts):
        raise UsageError("--logprobs goes with --json")
    if shown.json and shown.echo:
        raise UsageError("--echo does not go with --json, which tells the prompt in any case")
    if chosen.trace is not None:
        check_ending(chosen.trace)
    trace = Trace()
    talk = chatting or Chatting()
    if talk.chat and sampling is not None and sampling.speculate:
        raise UsageError("--speculate does not go with --chat")
    if talk.chat or prompts is not None:
        given = {"--prompt": prompt is not None, "--file": file is not None}
        given |= {"--prompts": talk.chat and prompts is not None}
        _check_alone("--chat" if talk.chat else "--prompts", shown, chosen, given)
    if not talk.chat and (talk.system is not None or talk.jinja):
        raise UsageError("--system and --jinja go with --chat")
    path = locate(model)
    writing = writing_of(sampling or Sampling())
    if talk.chat:
        return _chat(path, chosen, writing, talk)
    if prompts is not None:
        return _each(path, chosen, writing, prompts)
    text = _read_prompt(prompt, file)
    check_writing(chosen, path)
    began = time.perf_counter()
    with _loading(model):
        begun = _begin(path, text, chosen, writing, trace)
    begun.load_seconds = time.perf_counter() - began
    if shown.json:
        held: dict[str, Any] = {"weights": chosen.weights, "arith": chosen.arith}
        held |= {
            "compute": compute_of(begun.model, chosen.compute),
            "precision": begun.model.precision,
        }
        held |= {"cache_type": begun.model.cache_type}
        written = _report(begun, {"model": model, **held, "prompt": text, "prompt_ids": begun.ids})
    else:
        written = _stream(begun.generation, text if shown.echo else "")
    if chosen.trace is not None:
        trace.write(chosen.trace)
    saved(chosen, begun.model, begun.cache, [*begun.ids, *written])
    if shown.stats:
        print_stats(begun)
    return 0


@contextmanager
def _loading(name: Path | str) -> Iterator[None]:
    """Show that a model is being loaded."""
    with _without_collecting(), status(f"loading {name}"):
        yield


@contextmanager
def _without_collecting() -> Iterator[None]:
    """Look for no garbage meanwhile.

    What importing and loading make stays for the most part, and going through it time and again to
    find garbage took a seventh of the time to the first token.
    """
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()


_HINTS = {
    ("--chat", "--stats"): "; type /stats",
    ("--prompts", "--json"): ", which prints JSON in any case",
}


def _check_alone(
    option: str, shown: Printing, computing: Computing, given: dict[str, bool]
) -> None:
    """Refuse what goes with one prompt only."""
    given = given | {
        "--json": shown.json,
        "--echo": shown.echo,
        "--stats": shown.stats,
        "--trace": computing.trace is not None,
        "--save-cache": computing.save_cache is not None,
        "--load-cache": computing.load_cache is not None,
    }
    for other, is_given in given.items():
        if is_given:
            raise UsageError(f"{other} does not go with {option}{_HINTS.get((option, other), '')}")


def _each(path: Path | str, computing: Computing, writing: Writing, prompts: Path) -> int:
    """Open the model once and continue every prompt of a file."""
    from refquant.runtime import Tokenizer, generate

    texts = read_prompts(prompts)
    with _loading(path), _opened(path) as checkpoint:
        tokenizer = Tokenizer(checkpoint.need_tokenizer())
        model = loaded(checkpoint, computing)
    diffusion = diffusion_options(writing.filling, model)

    def begin(text: str) -> tuple[list[int], "Generation"]:
        ids = tokenizer.encode(text)
        chosen = writing.fitting(tokenizer, model.context - len(ids))
        return ids, generate(model, ids, chosen, tokenizer=tokenizer, diffusion=diffusion)

    return answer_all(texts, begin)


def _chat(path: Path | str, computing: Computing, writing: Writing, talk: Chatting) -> int:
    """Open the model and talk with it."""
    from refquant.runtime import Tokenizer
    from refquant.runtime.chat import ChatSession

    with _loading(path), _opened(path) as checkpoint:
        spell, system = spelling(checkpoint, path, talk)
        tokenizer = Tokenizer(checkpoint.need_tokenizer())
        model = loaded(checkpoint, computing)
        session = ChatSession(
            model,
            tokenizer,
            spell,
            writing.biased(tokenizer),
            system,
            bounded=writing.is_bounded,
            diffusion=diffusion_options(writing.filling, model),
        )
    guarded = sys.stdout.isatty()
    return converse(session, lambda text: _write(text, guarded=guarded))


def _read_prompt(prompt: str | None, file: Path | None) -> str:
    if (prompt is None) == (file is None):
        found = "neither was given" if prompt is None else "both were given"
        raise UsageError(f"the prompt comes from --prompt TEXT, --prompt - or --file: {found}")
    if file is None and prompt is not None and prompt != "-":
        return prompt
    data = sys.stdin.buffer.read() if file is None else file.read_bytes()
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        place = "stdin" if file is None else str(file)
        message = f"reading the prompt from {place}: byte {error.start} is not UTF-8"
        raise UsageError(message) from error
    return text.removesuffix("\n").removesuffix("\r")


def _begin(
    path: Path | str, text: str, computing: Computing, writing: Writing, trace: "Trace"
) -> Begun:
    """Open the model and check the request; nothing has been computed yet."""
    from refquant.runtime import Tokenizer, generate
    from refquant.runtime.decoder import watch_nothing

    with _opened(path) as checkpoint:
        tokenizer = Tokenizer(checkpoint.need_tokenizer())
        ids = tokenizer.encode(text)
        model = loaded(checkpoint, computing)
    chosen = writing.fitting(tokenizer, model.context - len(ids))
    watch = watch_nothing if computing.trace is None else trace.watch
    # More than the context is refused by `generate`, and must not be asked of memory before.
    most = min(len(ids) + chosen.max_tokens, model.context)
    cache = opened_cache(computing, model, ids, most)
    cached = 0 if cache is None else cache.length
    diffusion = diffusion_options(writing.filling, model)
    generation = generate(
        model, ids, chosen, tokenizer=tokenizer, diffusion=diffusion, watch=watch, cache=cache
    )
    return Begun(ids, generation, model, cache, cached)


@contextmanager
def _opened(path: Path | str) -> Iterator["Checkpoint"]:
    """A model that can read text and run; when the `with` ends it has been checked."""
    from refquant.formats import open_checkpoint
    from refquant.formats.rq.read import StoredDocuments

    checkpoint = open_checkpoint(path)
    checkpoint.need_architecture()
    if checkpoint.tokenizer is None:
        raise UnsupportedError(f"{path} holds no tokenizer, so it cannot read a prompt")
    if not isinstance(checkpoint.documents, StoredDocuments):
        yield checkpoint
        return
    with checked_meanwhile(checkpoint):
        yield checkpoint


def _stream(generation: "Generation", opening: str) -> list[int]:
    """Print the text while it is written, and return its tokens; the line is ended in any case."""
    guarded, tokens = sys.stdout.isatty(), []
    try:
        _write(opening, guarded=guarded)
        for step in generation:
            tokens.append(step.token)
            _write(step.text, guarded=guarded)
    finally:
        _write("\n", guarded=guarded)
    return tokens


def _write(text: str, *, guarded: bool) -> None:
    if text:
        sys.stdout.write(text.translate(_CONTROLS) if guarded else text)
        sys.stdout.flush()


def _report(begun: Begun, facts: dict[str, Any]) -> list[int]:
    steps = list(begun.generation)
    ids = [step.token for step in steps]
    told = [step.logprob for step in steps if step.logprob is not None]
    # The shortest decimal that gives the binary32 number back.
    logprobs = {"logprobs": [str(one) for one in told]} if told else {}
    emit_json(
        "run",
        {
            **facts,
            "text": "".join(step.text for step in steps),
            "tokens": ids,
            **logprobs,
            "finish": begun.generation.finish,
            "stats": stats(begun),
        },
    )
    return ids
