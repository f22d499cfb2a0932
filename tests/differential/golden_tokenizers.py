"""Writes tests/data/tokenizers: small vocabularies, and the ids that llama.cpp gives to texts.

    python -m tests.differential.golden_tokenizers INTERPRETER SMOLLM2.gguf

with the interpreter of the oracle `llama`. `make test` reads these files where llama.cpp is not;
tests/differential/test_tokenizers.py compares with llama.cpp again, on more texts. The small
vocabularies are trained here on the held-out text of the embedded model and on the texts
themselves, without cutting words first, so that their merges cross every border that a
pre-tokenizer may or may not cut.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from refquant.formats.tokenizers_patterns import PRE_TOKENIZERS
from tests.tokenizer_texts import TEXTS
from tests.tokenizer_vocabularies import (
    BYTE,
    CONTROL,
    NORMAL,
    UNKNOWN,
    USER_DEFINED,
    byte_level_file,
    save,
    sentencepiece_file,
)

REPOSITORY = Path(__file__).parent.parent.parent
WORKER = Path(__file__).parent / "workers" / "tokenize_llama_cpp.py"
SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")


def llama_cpp_ids(python: Path, model: Path, texts: Sequence[str]) -> list[list[int]]:
    """The ids that llama.cpp gives to each text, without bos."""
    with tempfile.TemporaryDirectory() as folder:
        asked, answer = Path(folder) / "texts.json", Path(folder) / "ids.json"
        asked.write_text(json.dumps(texts), encoding="utf-8")
        subprocess.run([python, WORKER, model, asked, answer], check=True)
        return json.loads(answer.read_text(encoding="utf-8"))


def ids_of_bytes(python: Path, data: bytes, texts: Sequence[str]) -> list[list[int]]:
    """The same for a GGUF file that is only in memory."""
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "vocabulary.gguf"
        model.write_bytes(data)
        return llama_cpp_ids(python, model, texts)


def corpus() -> list[str]:
    """Some pages of a novel, in overlapping pieces, and the texts, several times."""
    novel = (REPOSITORY / "refquant" / "demo" / "heldout.txt").read_text(encoding="utf-8")[:40_000]
    # A token that is learned must not be one of the special ones, so no text shows them; and
    # llama.cpp ends a piece at a NUL, so none may hold one.
    unseen = (*SPECIAL, "[INST]", "\0")
    plain = [text for text in TEXTS if not any(mark in text for mark in unseen)]
    return [novel[at : at + 60] for at in range(0, len(novel), 50)] + 5 * plain


def trained(tokenizer: Tokenizer, alphabet: Sequence[str], size: int) -> tuple[list[str], list]:
    """Tokens in the order of their ids, and merges, of a tokenizer trained on the corpus."""
    trainer = trainers.BpeTrainer(
        vocab_size=size, initial_alphabet=list(alphabet), show_progress=False, max_token_length=12
    )
    tokenizer.train_from_iterator(corpus(), trainer)
    model = json.loads(tokenizer.to_str())["model"]
    return sorted(model["vocab"], key=model["vocab"].get), model["merges"]


def byte_level_vocabulary() -> dict[str, list]:
    """All bytes, 1200 merges, three control tokens in front."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokens, merges = trained(tokenizer, pre_tokenizers.ByteLevel.alphabet(), 1456)
    return {
        "tokens": [*SPECIAL, *tokens],
        "types": [CONTROL] * 3 + [NORMAL] * len(tokens),
        "merges": [f"{left} {right}" for left, right in merges],
    }


def sentencepiece_vocabulary() -> dict[str, list]:
    """Unknown, bos and eos, 256 byte tokens, a user-defined one, then pieces by rank."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Replace(" ", "\u2581")
    pieces, merges = trained(tokenizer, (), 1200)
    joined = ["".join(pair) for pair in merges]
    letters = [piece for piece in pieces if piece not in set(joined) and len(piece) == 1]
    ordered = list(dict.fromkeys([*joined, *letters]))
    head = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), "[INST]"]
    return {
        "tokens": [*head, *ordered],
        "types": [UNKNOWN, CONTROL, CONTROL] + [BYTE] * 256 + [USER_DEFINED]
        + [NORMAL] * len(ordered),
        "scores": [0.0] * len(head) + [-float(rank) for rank in range(len(ordered))],
    }  # fmt: skip


def main() -> None:
    """Write all files."""
    python, smollm2 = map(Path, sys.argv[1:])
    byte_level = byte_level_vocabulary()
    groups: dict[str, list[str]] = {}
    for pre in sorted(PRE_TOKENIZERS):
        ids = ids_of_bytes(python, byte_level_file(byte_level, pre), TEXTS)
        groups.setdefault(json.dumps(ids), []).append(pre)
    listed = [{"names": names, "ids": json.loads(ids)} for ids, names in groups.items()]
    save("byte_level", {**byte_level, "texts": TEXTS, "groups": listed})
    pieces = sentencepiece_vocabulary()
    ids = {
        name: ids_of_bytes(python, sentencepiece_file(pieces, add_space_prefix=prefix), TEXTS)
        for name, prefix in (("prefix", True), ("plain", False))
    }
    save("sentencepiece", {**pieces, "texts": TEXTS, "ids": ids})
    save("smollm2", {"texts": TEXTS, "ids": llama_cpp_ids(python, smollm2, TEXTS)})


if __name__ == "__main__":
    main()
