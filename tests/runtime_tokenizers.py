"""Two tokenizers without merges: one of bytes in GPT-2's alphabet, one of SentencePiece's kind."""

from functools import cache

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers

from refquant.formats.checkpoint import TokenizerSpec


@cache
def byte_level():
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {piece: place for place, piece in enumerate(alphabet)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<s>", "</s>"])
    json = tokenizer.to_str().encode()
    return TokenizerSpec("bpe-bytelevel-1", json, bos=256, eos=(257,), add_bos=False)


@cache
def sentencepiece():
    pieces = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁", "a", "P"]
    vocabulary = {piece: place for place, piece in enumerate(pieces)}
    tokenizer = Tokenizer(
        models.BPE(vocab=vocabulary, merges=[], unk_token=pieces[0], byte_fallback=True)
    )
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    tokenizer.add_special_tokens(["<s>", "</s>"])
    json = tokenizer.to_str().encode()
    return TokenizerSpec("bpe-sentencepiece-1", json, bos=1, eos=(2,), add_bos=True)
