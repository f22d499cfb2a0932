// zstd frames (RFC 8878) under the rules of chapter 7. Section numbers are those of the RFC.

import { refuse, RqError } from "./mp1.mjs";

const LARGEST_WINDOW = 8 * 2 ** 20;
const LARGEST_BLOCK = 128 * 2 ** 10;

const damaged = (what) => refuse("E_ZSTD_DATA", what);
const log2 = (n) => 31 - Math.clz32(n);

// ------------------------------------------------------------------------------------- bits, tables

/** Bits from the last one to the first (4.1); before the first there are zeros. */
class BackwardBits {
  constructor(bytes) {
    if (bytes.length === 0 || bytes.at(-1) === 0) damaged("a stream without its last bit");
    this.bytes = bytes;
    this.left = 8 * (bytes.length - 1) + log2(bytes.at(-1));
  }

  peek(count) {
    let value = 0;
    for (let have = 0; have < count; ) {
      // Take bits from the top; each step stays inside one byte.
      const top = this.left - have;
      const width = Math.min(count - have, ((top - 1) & 7) + 1);
      const byte = top > 0 ? this.bytes[(top - 1) >> 3] : 0;
      const shift = top > 0 ? ((top - 1) & 7) + 1 - width : 0;
      value = value * 2 ** width + ((byte >> shift) & ((1 << width) - 1));
      have += width;
    }
    return value;
  }

  read(count) {
    const value = this.peek(count);
    this.left -= count;
    return value;
  }
}

/** The probabilities of symbols (4.1.1), and how many bytes they took. */
function readDistribution(bytes, mostLog) {
  let at = 0;
  const bits = (count) => {
    let value = 0;
    for (let i = 0; i < count; i++, at++) {
      if (at >= 8 * bytes.length) damaged("a table that does not end");
      value |= ((bytes[at >> 3] >> (at & 7)) & 1) << i;
    }
    return value;
  };
  const log = bits(4) + 5;
  if (log > mostLog) damaged("a table too large");
  const counts = [];
  let left = 1 << log;
  while (left > 0) {
    const width = log2(left + 1) + 1;
    const low = (1 << (width - 1)) - 1;
    const threshold = (1 << width) - 1 - (left + 1);
    let value = bits(width - 1);
    if (value >= threshold) {
      value |= bits(1) << (width - 1);
      if (value > low) value -= threshold;
    }
    const count = value - 1;
    left -= Math.abs(count);
    counts.push(count);
    if (count === 0) {
      let more;
      do {
        more = bits(2);
        for (let i = 0; i < more; i++) counts.push(0);
      } while (more === 3);
    }
  }
  if (left < 0) damaged("probabilities that do not add up");
  return { table: fseTable(counts, log), used: Math.ceil(at / 8) };
}

/** Decoding table of a distribution (4.1.1). */
function fseTable(counts, log) {
  const size = 1 << log;
  const symbols = new Uint16Array(size);
  const next = counts.map((count) => Math.abs(count));
  let high = size;
  counts.forEach((count, symbol) => {
    if (count === -1) symbols[--high] = symbol;
  });
  let place = 0;
  counts.forEach((count, symbol) => {
    for (let i = 0; i < count; i++) {
      symbols[place] = symbol;
      do place = (place + (size >> 1) + (size >> 3) + 3) & (size - 1);
      while (place >= high);
    }
  });
  const bits = new Uint8Array(size);
  const base = new Uint32Array(size);
  for (let i = 0; i < size; i++) {
    const state = next[symbols[i]]++;
    bits[i] = log - log2(state);
    base[i] = (state << bits[i]) - size;
  }
  return { log, symbols, bits, base };
}

const rleTable = (symbol) => ({ log: 0, symbols: [symbol], bits: [0], base: [0] });

// ------------------------------------------------------------------------------ literals (3.1.1.3.1)

/** Weights of a Huffman tree (4.2.1), and how many bytes they took. */
function readWeights(bytes) {
  if (bytes.length === 0) damaged("no Huffman tree");
  const head = bytes[0];
  if (head >= 128) {
    const count = head - 127;
    const used = 1 + Math.ceil(count / 2);
    if (used > bytes.length) damaged("a Huffman tree that does not end");
    const weights = Array.from({ length: count }, (_, i) =>
      i % 2 ? bytes[1 + (i >> 1)] & 15 : bytes[1 + (i >> 1)] >> 4,
    );
    return { weights, used };
  }
  if (1 + head > bytes.length) damaged("a Huffman tree that does not end");
  const { table, used } = readDistribution(bytes.subarray(1, 1 + head), 6);
  const stream = new BackwardBits(bytes.subarray(1 + used, 1 + head));
  const weights = [];
  const states = [stream.read(table.log), stream.read(table.log)];
  for (let turn = 0; ; turn = 1 - turn) {
    const state = states[turn];
    weights.push(table.symbols[state]);
    if (weights.length > 255) damaged("a Huffman tree too large");
    if (stream.left < table.bits[state]) {
      weights.push(table.symbols[states[1 - turn]]);
      break;
    }
    states[turn] = table.base[state] + stream.read(table.bits[state]);
  }
  return { weights, used: 1 + head };
}

/** Decoding table of a Huffman tree: the longest codes first. */
function readHuffman(bytes) {
  const { weights, used } = readWeights(bytes);
  const sum = weights.reduce((total, w) => total + (w ? 2 ** (w - 1) : 0), 0);
  if (sum === 0) damaged("an empty Huffman tree");
  const log = log2(sum) + 1;
  const rest = (1 << log) - sum;
  if (log > 11 || (rest & (rest - 1)) !== 0) damaged("a Huffman tree that does not add up");
  weights.push(log2(rest) + 1);
  // Two of the longest codes differ in their last bit; the library refuses a tree without them.
  if (!weights.includes(1)) damaged("a Huffman tree without its longest codes");
  const symbols = new Uint8Array(1 << log);
  const bits = new Uint8Array(1 << log);
  let place = 0;
  for (let weight = 1; weight <= log; weight++) {
    weights.forEach((w, symbol) => {
      if (w !== weight) return;
      symbols.fill(symbol, place, place + 2 ** (w - 1));
      bits.fill(log + 1 - w, place, place + 2 ** (w - 1));
      place += 2 ** (w - 1);
    });
  }
  return { huffman: { log, symbols, bits }, used };
}

function decodeStream({ log, symbols, bits }, bytes, out) {
  const stream = new BackwardBits(bytes);
  for (let i = 0; i < out.length; i++) {
    const state = stream.peek(log);
    out[i] = symbols[state];
    stream.left -= bits[state];
  }
  if (stream.left !== 0) damaged("a Huffman stream of another length");
}

function decodeLiterals(block, tables) {
  const type = block[0] & 3;
  const format = (block[0] >> 2) & 3;
  if (type < 2) {
    const head = [1, 2, 1, 3][format];
    if (head > block.length) damaged("literals cut");
    const size = block.readUIntLE(0, head) >> (head === 1 ? 3 : 4);
    const stored = type === 1 ? 1 : size;
    if (head + stored > block.length || size > LARGEST_BLOCK) damaged("literals cut");
    const bytes = block.subarray(head, head + stored);
    return [type === 1 ? Buffer.alloc(size, bytes[0]) : bytes, head + stored];
  }
  const head = [3, 3, 4, 5][format];
  if (head > block.length) damaged("literals cut");
  const width = [10, 10, 14, 18][format];
  const sizes = Math.floor(block.readUIntLE(0, head) / 16);
  const size = sizes % 2 ** width;
  const end = head + Math.floor(sizes / 2 ** width);
  if (end > block.length || size > LARGEST_BLOCK) damaged("literals cut");
  let at = head;
  if (type === 2) {
    const { huffman, used } = readHuffman(block.subarray(head, end));
    tables.huffman = huffman;
    at += used;
  }
  if (!tables.huffman) damaged("no Huffman tree before");
  const out = Buffer.alloc(size);
  if (format === 0) {
    decodeStream(tables.huffman, block.subarray(at, end), out);
    return [out, end];
  }
  if (at + 6 > end) damaged("literals cut");
  const part = (size + 3) >> 2;
  let start = at + 6;
  for (let i = 0; i < 4; i++) {
    const stop = i < 3 ? start + block.readUInt16LE(at + 2 * i) : end;
    if (stop > end || 3 * part > size) damaged("literals cut");
    const piece = out.subarray(i * part, i < 3 ? (i + 1) * part : size);
    decodeStream(tables.huffman, block.subarray(start, stop), piece);
    start = stop;
  }
  return [out, end];
}

// ----------------------------------------------------------------------------- sequences (3.1.1.3.2)

const lengths = (plain, first, widths) => {
  const table = Array.from({ length: plain }, (_, i) => [first + i, 0]);
  let base = first + plain;
  for (const width of widths) {
    table.push([base, width]);
    base += 2 ** width;
  }
  return table;
};

const LITERAL_LENGTHS = lengths(
  16,
  0,
  [1, 1, 1, 1, 2, 2, 3, 3, 4, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16],
);
const MATCH_LENGTHS = lengths(
  32,
  3,
  [1, 1, 1, 1, 2, 2, 3, 3, 4, 4, 5, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16],
);
const repeat = (value, count) => Array(count).fill(value);
const KINDS = [
  {
    name: "literal",
    log: 9,
    most: 35,
    usual: fseTable(
      [4, 3, ...repeat(2, 11), 1, 1, 1, ...repeat(2, 9), 3, 2, ...repeat(1, 5), ...repeat(-1, 4)],
      6,
    ),
  },
  {
    name: "offset",
    log: 8,
    most: 31,
    usual: fseTable([...repeat(1, 6), 2, 2, 2, ...repeat(1, 15), ...repeat(-1, 5)], 5),
  },
  {
    name: "match",
    log: 9,
    most: 52,
    usual: fseTable([1, 4, 3, ...repeat(2, 6), ...repeat(1, 37), ...repeat(-1, 7)], 6),
  },
];

/** The three tables of a block, kept in `tables` for the next; where the bits begin. */
function readTables(block, at, tables) {
  const modes = block[at++];
  if (modes === undefined || modes & 3) damaged("table modes");
  KINDS.forEach(({ name, log, most, usual }, i) => {
    const mode = (modes >> (6 - 2 * i)) & 3;
    if (mode === 0) tables[name] = usual;
    if (mode === 1) {
      if (at >= block.length || block[at] > most) damaged("a table of one symbol");
      tables[name] = rleTable(block[at++]);
    }
    if (mode === 2) {
      const { table, used } = readDistribution(block.subarray(at), log);
      if (table.symbols.some((symbol) => symbol > most)) damaged("a symbol out of range");
      tables[name] = table;
      at += used;
    }
    if (!tables[name]) damaged("no table before");
  });
  return at;
}

/** The offset that a code stands for, with the last three kept up to date (3.1.1.5). */
function offsetOf(value, literals, last) {
  if (value > 3) {
    last.unshift(value - 3);
    last.pop();
    return last[0];
  }
  const place = value - 1 + (literals === 0 ? 1 : 0);
  const offset = place === 3 ? last[0] - 1 : last[place];
  if (place > 0) {
    if (place > 1) last[2] = last[1];
    last[1] = last[0];
    last[0] = offset;
  }
  return offset;
}

function decodeBlock(block, out, tables) {
  const [literals, start] = decodeLiterals(block, tables);
  let at = start;
  if (at >= block.length) damaged("no sequences");
  let count = block[at++];
  if (count === 255) {
    if (at + 2 > block.length) damaged("sequences cut");
    count = block.readUInt16LE(at) + 0x7f00;
    at += 2;
  } else if (count >= 128) {
    if (at + 1 > block.length) damaged("sequences cut");
    count = (count - 128) * 256 + block[at++];
  }
  let taken = 0;
  const copyLiterals = (size) => {
    if (taken + size > literals.length) damaged("too few literals");
    out.append(literals.subarray(taken, taken + size));
    taken += size;
  };
  if (count > 0) {
    at = readTables(block, at, tables);
    const bits = new BackwardBits(block.subarray(at));
    const kinds = KINDS.map(({ name }) => tables[name]);
    const states = kinds.map((table) => bits.read(table.log));
    for (let i = 0; i < count; i++) {
      const [literal, offset, match] = kinds.map((table, k) => table.symbols[states[k]]);
      const value = 2 ** offset + bits.read(offset);
      const [matchBase, matchBits] = MATCH_LENGTHS[match];
      const matched = matchBase + bits.read(matchBits);
      const [literalBase, literalBits] = LITERAL_LENGTHS[literal];
      const size = literalBase + bits.read(literalBits);
      copyLiterals(size);
      out.repeat(offsetOf(value, size, tables.offsets), matched);
      if (i + 1 < count) {
        for (const k of [0, 2, 1]) {
          const table = kinds[k];
          states[k] = table.base[states[k]] + bits.read(table.bits[states[k]]);
        }
      }
    }
    if (bits.left !== 0) damaged("sequences of another length");
  } else if (at !== block.length) {
    damaged("bytes after no sequences");
  }
  copyLiterals(literals.length - taken);
}

// --------------------------------------------------------------------------------------------- frames

/** Room for exactly as many bytes as the frame states. */
class Output {
  constructor(size) {
    this.bytes = Buffer.alloc(size);
    this.at = 0;
  }

  claim(size) {
    if (size > this.bytes.length - this.at) damaged("more bytes than stated");
    this.at += size;
    return this.at - size;
  }

  append(bytes) {
    bytes.copy(this.bytes, this.claim(bytes.length));
  }

  repeat(offset, size) {
    const start = this.claim(size);
    if (offset < 1 || offset > start) damaged("an offset before the first byte");
    for (let i = start; i < start + size; i++) this.bytes[i] = this.bytes[i - offset];
  }
}

/** Where the blocks begin, after every rule of Z-3 on the header. */
function checkHeader(frame, rawLength) {
  if (frame.subarray(0, 4).toString("hex") !== "28b52ffd") refuse("E_ZSTD_MAGIC", "magic");
  if (frame.length < 5) damaged("no header");
  const flags = frame[4];
  const isSingle = (flags & 32) !== 0;
  const sizeBytes = flags >> 6 ? 1 << (flags >> 6) : isSingle ? 1 : 0;
  const end = 5 + (isSingle ? 0 : 1) + [0, 1, 2, 4][flags & 3] + sizeBytes;
  if (frame.length < end) damaged("header cut");
  if (flags & 3) refuse("E_ZSTD_DICT", "dictionary");
  if (flags & 4) refuse("E_ZSTD_CHECKSUM", "checksum");
  if (flags & 24) refuse("E_ZSTD_RESERVED", "reserved bit");
  if (sizeBytes === 0) refuse("E_ZSTD_NOSIZE", "no size");
  let size = 0n;
  for (let i = end - 1; i >= end - sizeBytes; i--) size = size * 256n + BigInt(frame[i]);
  if (sizeBytes === 2) size += 256n;
  if (size !== BigInt(rawLength)) refuse("E_ZSTD_SIZE", `${size} bytes`);
  const window = isSingle ? rawLength : (8 + (frame[5] & 7)) * 2 ** ((frame[5] >> 3) + 7);
  if (window > LARGEST_WINDOW) refuse("E_ZSTD_WINDOW", `${window} bytes`);
  return [end, Math.min(window, LARGEST_BLOCK)];
}

/** The bytes that a frame stands for; it fills the segment, or E_ZSTD_TRAIL. */
export function decompress(frame, rawLength) {
  let [at, largest] = checkHeader(frame, rawLength);
  const out = new Output(rawLength);
  const tables = { offsets: [1, 4, 8] };
  for (let isLast = false; !isLast; ) {
    if (at + 3 > frame.length) damaged("no block");
    const head = frame.readUIntLE(at, 3);
    const kind = (head >> 1) & 3;
    const size = head >> 3;
    const stored = kind === 1 ? 1 : size;
    isLast = (head & 1) === 1;
    at += 3;
    if (kind === 3 || size > largest || at + stored > frame.length) damaged("a block");
    const block = frame.subarray(at, at + stored);
    if (kind === 0) out.append(block);
    if (kind === 1) out.append(Buffer.alloc(size, block[0]));
    if (kind === 2) {
      if (size === 0) damaged("an empty block");
      decodeBlock(block, out, tables);
    }
    at += stored;
  }
  if (out.at !== rawLength) damaged("fewer bytes than stated");
  if (at !== frame.length) throw new RqError("E_ZSTD_TRAIL", `${frame.length - at} bytes`);
  return out.bytes;
}
