r"""How byte-level tokenizers cut a text into words before merging, by GGUF's name for each way.

GGUF does not carry the regular expressions: `tokenizer.ggml.pre` names them, and each reader has
to know what the name stands for. These are the expressions of the models' own `tokenizer.json`
files, in the syntax of the `tokenizers` library (Oniguruma). They are applied one after another,
each to the pieces that the last one left; every match becomes a piece, and so does what lies
between two matches. Source of the names: the table of llama.cpp as llama-cpp-python 0.3.36 carries
it, which spells some expressions differently, because C++ has no case-insensitive groups and no
classes such as \p{Lu}.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from refquant.errors import UnsupportedError

__all__ = ["PRE_TOKENIZERS", "PreTokenizer", "pre_tokenizer_named"]


@dataclass(frozen=True, slots=True)
class PreTokenizer:
    """One way to cut a text into words.

    `ignore_merges` says that a word which is a token as it stands is not merged from its bytes.
    `add_bos` is what the model expects if its file does not say.
    """

    patterns: tuple[str, ...]
    ignore_merges: bool = False
    add_bos: bool = False


# English contractions; the newer models take them in upper case as well.
CONTRACTION: Final = "'s|'t|'re|'ve|'m|'ll|'d"
ANY_CASE_CONTRACTION: Final = f"(?i:{CONTRACTION})"
# Spaces go to the word that follows, except the ones before the last of several.
SPACES: Final = r"\s+(?!\S)|\s+"

GPT2_WORDS: Final = CONTRACTION + r"| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|" + SPACES


def _words(letters: str, digits: str, *, ends: str = r"[\r\n]*", lines: str = r"\s*[\r\n]+") -> str:
    """The scheme that GPT-4's tokenizer began: contractions, words, digits, signs, line ends."""
    return "|".join((letters, digits, r" ?[^\s\p{L}\p{N}]+" + ends, lines, SPACES))


# A word takes one leading character that is neither letter, digit nor line end, such as a space.
_LETTERS: Final = ANY_CASE_CONTRACTION + r"|[^\r\n\p{L}\p{N}]?\p{L}+"
LLAMA3_WORDS: Final = _words(_LETTERS, r"\p{N}{1,3}")
QWEN2_WORDS: Final = _words(_LETTERS, r"\p{N}")
QWEN35_WORDS: Final = "|".join(
    (
        ANY_CASE_CONTRACTION + r"|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+",
        r"\p{N}",
        r" ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*",
        r"\s*[\r\n]+",
        SPACES,
    )
)

# A word of capitals then small letters: `camelCase` is two words, `HTTPServer` is one or two.
_UPPER: Final = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]"
_LOWER: Final = r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_LEAD: Final = r"[^\r\n\p{L}\p{N}]?"


def _cased_words(suffix: str, digits: str) -> str:
    capitals_first = f"{_LEAD}{_UPPER}*{_LOWER}+{suffix}|{_LEAD}{_UPPER}+{_LOWER}*{suffix}"
    return _words(capitals_first, digits, ends=r"[\r\n/]*")


TEKKEN_WORDS: Final = _cased_words("", r"\p{N}")
GPT4O_WORDS: Final = _cased_words(f"{ANY_CASE_CONTRACTION}?", r"\p{N}{1,3}")

DEEPSEEK3_WORDS: Final = "|".join(
    (
        r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+",
        r"[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+",
        r" ?[\p{P}\p{S}]+[\r\n]*",
        r"\s*[\r\n]+",
        SPACES,
    )
)
BLOOM_WORDS: Final = " ?[^(\\s|.,!?…。，、।۔،)]+"

_GPT2: Final = PreTokenizer((GPT2_WORDS,))
_SINGLE_DIGITS: Final = PreTokenizer((r"\p{N}", GPT2_WORDS))
_LLAMA3: Final = PreTokenizer((LLAMA3_WORDS,), ignore_merges=True, add_bos=True)
_LLAMA3_WORDS_ONLY: Final = PreTokenizer((LLAMA3_WORDS,))
_QWEN2: Final = PreTokenizer((QWEN2_WORDS,))
_DEEPSEEK3: Final = PreTokenizer((r"\p{N}{1,3}", "[一-龥぀-ゟ゠-ヿ]+", DEEPSEEK3_WORDS))
_GPT4O: Final = PreTokenizer((GPT4O_WORDS,))
_BLOOM: Final = PreTokenizer((BLOOM_WORDS,))

PRE_TOKENIZERS: Final[Mapping[str, PreTokenizer]] = {
    "default": PreTokenizer(
        (r"[\p{P}\$\+<=>\^~\|]+", GPT2_WORDS, r"\p{N}+", "[0-9][0-9][0-9]"),
    ),
    "gpt-2": _GPT2,
    "phi-2": _GPT2,
    "mpt": _GPT2,
    "olmo": _GPT2,
    "jais": _GPT2,
    "exaone4": _GPT2,
    "modern-bert": _GPT2,
    "roberta-bpe": _GPT2,
    "jina-v2-code": _GPT2,
    "mellum": _GPT2,
    "trillion": _GPT2,
    "granite-docling": _GPT2,
    "smollm": _SINGLE_DIGITS,
    "starcoder": _SINGLE_DIGITS,
    "refact": _SINGLE_DIGITS,
    "command-r": _SINGLE_DIGITS,
    "codeshell": _SINGLE_DIGITS,
    "exaone": _SINGLE_DIGITS,
    "minerva-7b": _SINGLE_DIGITS,
    "llama3": _LLAMA3,
    "llama-v3": _LLAMA3,
    "llama-bpe": _LLAMA3,
    "falcon3": _LLAMA3,
    "falcon-h1": _LLAMA3,
    "pixtral": _LLAMA3,
    "lfm2": _LLAMA3,
    "dbrx": _LLAMA3_WORDS_ONLY,
    "smaug-bpe": _LLAMA3_WORDS_ONLY,
    "chatglm-bpe": _LLAMA3_WORDS_ONLY,
    "glm4": PreTokenizer((LLAMA3_WORDS,), ignore_merges=True),
    "qwen2": _QWEN2,
    "deepseek-r1-qwen": _QWEN2,
    "stablelm2": _QWEN2,
    "hunyuan": _QWEN2,
    "megrez": _QWEN2,
    "grok-2": _QWEN2,
    "qwen35": PreTokenizer((QWEN35_WORDS,)),
    "gpt-4o": _GPT4O,
    "llama4": _GPT4O,
    "tekken": PreTokenizer((TEKKEN_WORDS,), ignore_merges=True, add_bos=True),
    "falcon": PreTokenizer((r"[\p{P}\$\+<=>\^~\|`]+", GPT2_WORDS, "[0-9][0-9][0-9]")),
    "deepseek-coder": PreTokenizer(
        ("[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", "[一-龥ࠀ-一가-퟿]+", r"\p{N}")
    ),
    "deepseek-v3": _DEEPSEEK3,
    "hunyuan-dense": _DEEPSEEK3,
    "bloom": _BLOOM,
    "gpt3-finnish": _BLOOM,
    "poro-chat": _BLOOM,
    "viking": PreTokenizer((BLOOM_WORDS, r"\p{N}")),
}


def pre_tokenizer_named(name: str) -> PreTokenizer:
    """The way of cutting that a GGUF file names; UnsupportedError lists the known ones."""
    if name not in PRE_TOKENIZERS:
        known = ", ".join(sorted(PRE_TOKENIZERS))
        raise UnsupportedError(
            f"the pre-tokenizer {name!r} (tokenizer.ggml.pre) is not known; known are {known}",
            code="E_GGUF_PRE_TOKENIZER",
        )
    return PRE_TOKENIZERS[name]
