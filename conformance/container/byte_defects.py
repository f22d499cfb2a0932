"""Files with exactly one defect each: preamble, table, header bytes, frames."""

import re
import struct
from hashlib import sha256
from pathlib import Path

from conformance.container.frames import frame, header_of
from conformance.container.parts import (
    CODEC,
    DOCUMENT,
    FLAGS,
    KIND,
    OFFSET,
    PLANE,
    RAW_LENGTH,
    SHA,
    STORED,
    Payload,
    assemble,
    build,
    compressed_example,
    example,
)
from refquant import mp1

DEFECTS = {}
"""Name -> (code, when it shows: "open", "touch" or "full", the file's bytes made on demand)."""

TOO_LARGE_TO_KEEP = {
    "chat_prompt_of_65537_bytes",
    "chat_turn_of_65537_bytes",
    "document_too_long",
    "header_too_long",
    "too_many_aliases",
    "too_many_tensors",
    "values_beyond_the_limit",
}
"""Defects whose files have megabytes; they are made on demand and not kept with the others."""


def defect(code, when="open"):
    """Register a function that makes a file: it changes the example's parts, or returns bytes."""

    def register(make):
        def data():
            parts = example()
            made = make(parts)
            return made if isinstance(made, bytes) else build(made or parts)

        DEFECTS[make.__name__] = (code, when, data)
        return make

    return register


def field_defect(name, code, *, preamble=None, entries=None, patches=None, tail=b""):
    """Register a defect of preamble, table or bytes around them."""

    def data():
        parts = example()
        parts.preamble |= preamble or {}
        parts.entries |= entries or {}
        parts.patches |= patches or {}
        parts.tail = tail
        return build(parts)

    DEFECTS[name] = (code, "open", data)


def size_of_example():
    return len(build(example()))


# ------------------------------------------------------------------- S0: preamble


@defect("E_SIZE")
def empty_file(_):
    return b""


@defect("E_SIZE")
def one_byte_less_than_preamble_and_entry(parts):
    return build(parts)[:127]


@defect("E_MAGIC")
def line_ends_changed(parts):
    return build(parts).replace(b"\r\n", b"\n")


@defect("E_LENGTH")
def truncated_by_one(parts):
    return build(parts)[:-1]


@defect("E_LENGTH")
def polyglot(parts):
    return build(parts) + b"PK\x05\x06" + bytes(18)


@defect("E_COUNT")
def segments_past_the_end(parts):
    parts.preamble["segments"] = len(build(parts)) // 64


field_defect("high_bit_stripped", "E_MAGIC", preamble={"magic": b"\x09RQF\r\n\x1a\n"})
field_defect("foreign_magic", "E_MAGIC", preamble={"magic": b"GGUF\x03\x00\x00\x00"})
field_defect("major_0", "E_VERSION", preamble={"major": 0})
field_defect("major_2", "E_VERSION", preamble={"major": 2})
field_defect("major_big_endian", "E_VERSION", preamble={"major": 256})
field_defect("feature_shards", "E_FEATURE", preamble={"features": 2})
field_defect("feature_level_2", "E_FEATURE", preamble={"features": 4})
field_defect("feature_unknown", "E_FEATURE", preamble={"features": 1 << 31})
field_defect("reserved_word", "E_RESERVED", preamble={"reserved": 1})
field_defect("length_too_small", "E_LENGTH", preamble={"length": 1536})
field_defect("length_huge", "E_LENGTH", preamble={"length": 2**64 - 1})
field_defect("one_byte_appended", "E_LENGTH", tail=b"\0")
field_defect("no_segments", "E_COUNT", preamble={"segments": 0})
field_defect("segments_huge", "E_COUNT", preamble={"segments": 2**32 - 1})

# ------------------------------------------------------------------- S1: root

field_defect("bit_flip_in_table", "E_TABLE_DIGEST", patches={64 + 32: 1})
field_defect("bit_flip_in_minor", "E_TABLE_DIGEST", patches={10: 1})
field_defect("root_zeroed", "E_TABLE_DIGEST", preamble={"root": bytes(32)})

# ------------------------------------------------------------------- S2: table

FOURTH = int.from_bytes(build(example())[64 + 64 * 4 :][:8], "little")
"""Where segment 4 of the example begins."""

field_defect("flags_set", "E_SEG_FLAGS", entries={3: {FLAGS: 1}})
field_defect("codec_unknown", "E_SEG_CODEC", entries={3: {CODEC: 2}})
field_defect("header_compressed", "E_SEG_CODEC", entries={0: {CODEC: 1}})
field_defect("kind_unknown", "E_SEG_KIND", entries={3: {KIND: 3}})
field_defect("second_header", "E_SEG_KIND", entries={3: {KIND: 0}})
field_defect("first_segment_is_no_header", "E_SEG_KIND", entries={0: {KIND: 1}})
field_defect("offset_of_previous", "E_SEG_OFFSET", entries={4: {OFFSET: FOURTH - 64}})
field_defect("offset_unaligned", "E_SEG_OFFSET", entries={4: {OFFSET: FOURTH + 1}})
field_defect("offset_leaves_a_hole", "E_SEG_OFFSET", entries={4: {OFFSET: FOURTH + 64}})
field_defect("offset_wraps", "E_SEG_OFFSET", entries={4: {OFFSET: 2**64 - 64}})
field_defect("offset_in_the_table", "E_SEG_OFFSET", entries={4: {OFFSET: 64}})
field_defect("stored_past_the_end", "E_SEG_BOUNDS", entries={5: {STORED: 9, RAW_LENGTH: 9}})
field_defect(
    "stored_wraps", "E_SEG_BOUNDS", entries={5: {STORED: 2**64 - 1, RAW_LENGTH: 2**64 - 1}}
)
field_defect("raw_length_differs", "E_SEG_RAWLEN", entries={3: {RAW_LENGTH: 37}})


@defect("E_PAD")
def padding_not_zero(parts):
    parts.padding = b"\x01"


@defect("E_SEG_EMPTY")
def segment_without_bytes(parts):
    parts.payloads[1] = Payload(DOCUMENT, b"")


@defect("E_ZSTD_RAWMAX")
def bomb(_):
    parts = compressed_example()
    parts.entries[1] = {RAW_LENGTH: 1 << 28}
    return parts


@defect("E_ZSTD_NOGAIN")
def frame_not_smaller(_):
    parts = compressed_example()
    parts.entries[1] = {RAW_LENGTH: len(parts.payloads[0].stored)}
    return parts


@defect("E_LIMIT")
def header_too_long(parts):
    parts.header = bytes((64 << 20) + 1)


# ------------------------------------------------------------------- S3: end


@defect("E_LENGTH")
def bytes_after_the_last_segment(parts):
    parts.tail = bytes(64)
    parts.preamble["length"] = size_of_example() + 64


@defect("E_FEATURE")
def zstd_bit_without_frames(parts):
    parts.preamble["features"] = 1


@defect("E_FEATURE")
def frames_without_zstd_bit(_):
    parts = compressed_example()
    parts.preamble["features"] = 0
    return parts


@defect("E_BUDGET")
def more_than_the_budget(_):
    # Five frames of 64 MiB of zeros: each is allowed, all of them exceed 256 MiB.
    size = 64 << 20
    last = b"\x03\x00\x10\x00"  # a run of 2^17 zeros, the last block
    stored = header_of(size, content_size=True, checksum=b"") + (b"\x02" + last[1:]) * 511 + last
    parts = compressed_example()
    parts.payloads = [Payload(PLANE, stored, b"") for _ in range(5)]
    parts.entries = {number: {RAW_LENGTH: size} for number in range(1, 6)}
    return parts


# ------------------------------------------------------------------- S4, S5: header bytes

field_defect("bit_flip_in_header", "E_SEG_CRC", patches={64 * 7: 1})
field_defect("header_sha_wrong", "E_SEG_SHA", entries={0: {SHA: bytes(32)}})


def header_bytes(name, code, data):
    def make():
        parts = example()
        parts.header = data
        return build(parts)

    DEFECTS[name] = (code, "open", make)


def header_with(raw):
    """The example's header with raw bytes in the place of its last value."""
    parts = example()
    parts.header["info"] = {"x": 0}
    return mp1.encode(parts.header)[:-1] + raw


def refused_strings():
    """The byte strings that chapter 3 refuses, with their codes."""
    chapter = Path(__file__).parents[2] / "spec" / "03-rq-mp1.md"
    return re.findall(r"^([0-9a-f]*) +(E_MP_\w+)$", chapter.read_text("utf-8"), re.MULTILINE)


for text, text_code in refused_strings():
    header_bytes(f"mp1_{text or 'nothing'}", text_code, header_with(bytes.fromhex(text)))

header_bytes("mp1_nested_5000_deep", "E_MP_DEPTH", header_with(b"\x91" * 5000 + b"\x90"))
header_bytes("mp1_key_of_65_bytes", "E_MP_KEY", header_with(b"\x81\xd9\x41" + b"a" * 65 + b"\0"))
header_bytes("mp1_key_with_a_space", "E_MP_KEY", header_with(b"\x81\xa3a b\0"))
header_bytes("mp1_key_not_ascii", "E_MP_KEY", header_with(b"\x81\xa3a\xc3\xa9\0"))
header_bytes("mp1_code_point_too_large", "E_MP_UTF8", header_with(b"\xa4\xf4\x90\x80\x80"))
header_bytes("mp1_utf8_cut", "E_MP_UTF8", header_with(b"\xa2\xe2\x82"))
header_bytes("mp1_utf8_overlong_3", "E_MP_UTF8", header_with(b"\xa3\xe0\x80\xaf"))
header_bytes("mp1_utf8_continuation_first", "E_MP_UTF8", header_with(b"\xa1\x80"))
header_bytes("mp1_negative_infinity", "E_MP_FLOAT", header_with(b"\xcb\xff\xf0" + bytes(6)))
header_bytes("mp1_map32_of_nothing", "E_MP_MINIMAL", header_with(b"\xdf\0\0\0\0"))


@defect("E_MP_LIMIT")
def values_beyond_the_limit(parts):
    parts.header = b"\xdd" + struct.pack(">I", 1 << 22) + bytes(1 << 22)


header_bytes("header_is_nil", "E_MP_TYPE", b"\xc0")
header_bytes("header_goes_on", "E_MP_TRAIL", b"\x80\x00")
header_bytes("header_stops", "E_MP_TRUNC", b"\x81")

# ------------------------------------------------------------------- S8: first use

field_defect("document_sha_wrong", "E_SEG_SHA", entries={1: {SHA: bytes(32)}})
DEFECTS["document_sha_wrong"] = ("E_SEG_SHA", "full", DEFECTS["document_sha_wrong"][2])


def codes_defect(name, code, description, data):
    """Register a defect in the codes of a tensor of as many bytes as its plane has."""

    def make():
        return build(assemble([("w", description, [len(data)], {"codes": data})]))

    DEFECTS[name] = (code, "touch", make)


def bytes_as(element, bits, over=1, count=1, size=1):
    """One plane of records of `size` bytes with one field `q`."""
    at = [[[bits, 0, [count] if count > 1 else [], [bits] if count > 1 else []]]]
    field = {"plane": "codes", "elem": element, "over": [over], "at": at}
    plane = {"block": [over * count], "bytes": size}
    return {"rqd": 1, "planes": {"codes": plane}, "fields": {"q": field}, "value": "q"}


TERNARY = {"k": "d", "base": 3, "n": 1}
codes_defect(
    "spare_bit_set", "E_CODE_PAD", bytes_as({"k": "u", "b": 3}, 3), bytes([7, 0, 5, 0x10, 1])
)
codes_defect(
    "spare_bit_of_the_last_record", "E_CODE_PAD", bytes_as({"k": "u", "b": 7}, 7), b"aaa\xff"
)
# Thirds of 256, rounded up: 0, 86, 171.
codes_defect("digit_of_no_number", "E_CODE_DIGIT", bytes_as(TERNARY, 8), bytes([0, 86, 171, 87]))
codes_defect("digit_255", "E_CODE_DIGIT", bytes_as(TERNARY, 8), bytes([255]))


@defect("E_CODE_DIGIT", "touch")
def five_digits_of_no_number(_):
    layout = bytes_as({"k": "d", "base": 3, "n": 5}, 8)
    layout["planes"]["codes"]["block"] = [5]
    # 243 numbers in 256 bytes: 20 is ceil(18.96 * 256 / 243) of none.
    taken = {-(-n * 256 // 243) for n in range(243)}
    free = min(set(range(256)) - taken)
    return build(assemble([("w", layout, [10], {"codes": bytes([0, free])})]))


@defect("E_SEG_CRC", "touch")
def payload_bit_flip(parts):
    parts.patches[size_of_example() - 1] = 1


@defect("E_SEG_CRC", "touch")
def document_bit_flip(parts):
    parts.patches[build(parts).index(b"messages")] = 1


@defect("E_SEG_SHA", "full")
def payload_sha_wrong(parts):
    parts.entries[5] = {SHA: sha256(b"other").digest()}


def frame_defect(name, code, stored):
    """Register a defect of the only frame: `stored(raw)` makes its bytes."""
    DEFECTS[name] = (code, "touch", lambda: build(compressed_example(stored=stored)))


def flipped(position, bits):
    def stored(raw):
        data = bytearray(frame(raw))
        data[position] ^= bits
        return bytes(data)

    return stored


# The low half of XXH64 of the example's 4096 bytes: the checksum is right, and not allowed.
CHECKSUM = bytes.fromhex("65c69229")


UNEVEN_TREE = "28b52ffd2028650000820202802000000000000100"
"""Forty zeros in one Huffman stream, if the tree were a tree."""


def hand_made(descriptor, head, raw):
    """A frame of one raw block... that never arrives: only its header is looked at."""
    return bytes.fromhex("28b52ffd") + bytes([descriptor]) + head + bytes(len(raw) // 4)


frame_defect("frame_then_junk", "E_ZSTD_TRAIL", lambda raw: frame(raw) + b"junk")
frame_defect("two_frames", "E_ZSTD_TRAIL", lambda raw: frame(raw) + frame(b"more"))
frame_defect(
    "skippable_frame_first", "E_ZSTD_MAGIC", lambda raw: b"\x50\x2a\x4d\x18" + bytes(4) + frame(raw)
)
frame_defect("frame_magic", "E_ZSTD_MAGIC", flipped(0, 1))
frame_defect("no_content_size", "E_ZSTD_NOSIZE", lambda raw: frame(raw, content_size=False))
frame_defect("size_disagrees", "E_ZSTD_SIZE", lambda raw: frame(raw + b"x"))
frame_defect("frame_checksum", "E_ZSTD_CHECKSUM", lambda raw: frame(raw, checksum=CHECKSUM))
frame_defect("frame_truncated", "E_ZSTD_DATA", lambda raw: frame(raw)[:-4])
frame_defect("frame_header_truncated", "E_ZSTD_DATA", lambda raw: frame(raw)[:5])
frame_defect("block_of_reserved_type", "E_ZSTD_DATA", flipped(7, 4))
DEFECTS["tree_without_longest_codes"] = (
    "E_ZSTD_DATA",
    "touch",
    # Two symbols of weight 2: their codes of one bit leave the longest, of two bits, unused.
    lambda: build(compressed_example(40, lambda _: bytes.fromhex(UNEVEN_TREE))),
)
DEFECTS["frame_of_other_bytes"] = (
    "E_SEG_SHA",
    "full",
    lambda: build(compressed_example(stored=flipped(10, 1))),
)
frame_defect("dictionary_flag", "E_ZSTD_DICT", flipped(4, 1))
frame_defect("reserved_bit_of_frame", "E_ZSTD_RESERVED", flipped(4, 8))
frame_defect("unused_bit_of_frame", "E_ZSTD_RESERVED", flipped(4, 16))
frame_defect(
    "window_of_128_mib",
    "E_ZSTD_WINDOW",
    lambda raw: hand_made(0x40, bytes([17 << 3]) + struct.pack("<H", len(raw) - 256), raw),
)
