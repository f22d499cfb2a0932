"""llama.cpp's tokenizers behind files: token ids of texts, special tokens recognised.

    python tokenize_llama_cpp.py MODEL.gguf TEXTS.json IDS.json

Runs in an environment that has llama-cpp-python, never in ours.
"""

import json
import sys
from pathlib import Path

from llama_cpp import Llama


def main() -> None:
    """Read a list of texts, write a list of lists of ids."""
    model, texts, answer = sys.argv[1:]
    vocabulary = Llama(model, vocab_only=True, verbose=False)
    ids = [
        vocabulary.tokenize(text.encode(), add_bos=False, special=True)
        for text in json.loads(Path(texts).read_text(encoding="utf-8"))
    ]
    Path(answer).write_text(json.dumps(ids), encoding="utf-8")


main()
