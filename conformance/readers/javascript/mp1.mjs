// RQ-MP1 (chapter 3). Integers are numbers, floats are `Float`, maps are `Map`, bytes are `Buffer`.

/** A file that breaks a rule; `code` names the rule. */
export class RqError extends Error {
  constructor(code, message) {
    super(message);
    this.code = code;
  }
}

export const refuse = (code, message) => {
  throw new RqError(code, message);
};

/** A binary64 number of the header, which must not be taken for an integer. */
export class Float {
  constructor(number) {
    this.number = number;
  }
}

export const isMap = (value) => value instanceof Map;

/** A map with keys, in the sense of chapter 4. */
export function mapWith(value, where, required, optional = []) {
  if (!isMap(value)) refuse("E_SCHEMA_TYPE", `${where}: expected a map`);
  for (const key of required) if (!value.has(key)) refuse("E_SCHEMA_MISSING", `${where}.${key}`);
  for (const key of value.keys()) {
    if (!required.includes(key) && !optional.includes(key)) {
      refuse("E_SCHEMA_UNKNOWN", `${where}.${key}`);
    }
  }
  return value;
}

/** An array of at most so many items. */
export function array(value, where, most) {
  if (!Array.isArray(value)) refuse("E_SCHEMA_TYPE", `${where}: expected an array`);
  if (value.length > most) refuse("E_LIMIT", `${where}: ${value.length} items`);
  return value;
}

/** A value of a type of JavaScript. */
export function typed(value, type, where) {
  if (typeof value !== type) refuse("E_SCHEMA_TYPE", `${where}: expected a ${type}`);
  return value;
}

const MOST_DEPTH = 16;
const MOST_VALUES = 2 ** 22;
const KEY = /^[a-z][a-z0-9_.-]{0,63}$/;
const UTF8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

const SIZED = new Map([
  [0xc4, [1, 0, "bin"]],
  [0xc5, [2, 2 ** 8, "bin"]],
  [0xc6, [4, 2 ** 16, "bin"]],
  [0xd9, [1, 2 ** 5, "str"]],
  [0xda, [2, 2 ** 8, "str"]],
  [0xdb, [4, 2 ** 16, "str"]],
  [0xdc, [2, 2 ** 4, "array"]],
  [0xdd, [4, 2 ** 16, "array"]],
  [0xde, [2, 2 ** 4, "map"]],
  [0xdf, [4, 2 ** 16, "map"]],
]);

// tag -> [width, signed, is the shortest form]
const INTEGERS = new Map([
  [0xcc, [1, false, (n) => n >= 1n << 7n]],
  [0xcd, [2, false, (n) => n >= 1n << 8n]],
  [0xce, [4, false, (n) => n >= 1n << 16n]],
  [0xcf, [8, false, (n) => n >= 1n << 32n]],
  [0xd0, [1, true, (n) => n < -(1n << 5n)]],
  [0xd1, [2, true, (n) => n < -(1n << 7n)]],
  [0xd2, [4, true, (n) => n < -(1n << 15n)]],
  [0xd3, [8, true, (n) => n < -(1n << 31n)]],
]);

const fail = (code, at) => {
  throw new RqError(code, `header byte ${at}`);
};

class Reader {
  constructor(bytes) {
    this.bytes = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
    this.at = 0;
    this.values = 1;
    this.spans = new Map();
  }

  left() {
    return this.bytes.length - this.at;
  }

  take(size) {
    if (size > this.left()) fail("E_MP_TRUNC", this.at);
    this.at += size;
    return this.bytes.subarray(this.at - size, this.at);
  }

  unsigned(width) {
    return Number(BigInt(`0x${this.take(width).toString("hex")}`));
  }

  value(depth) {
    const start = this.at;
    const tag = this.take(1)[0];
    if (tag < 0x80) return tag;
    if (tag >= 0xe0) return tag - 0x100;
    if (tag < 0x90) return this.map(tag & 15, depth, start);
    if (tag < 0xa0) return this.array(tag & 15, depth);
    if (tag < 0xc0) return this.text(tag & 31);
    if (tag === 0xc2 || tag === 0xc3) return tag === 0xc3;
    if (tag === 0xcb) return this.float();
    if (INTEGERS.has(tag)) return this.integer(tag);
    if (!SIZED.has(tag)) fail("E_MP_TYPE", start);
    const [width, least, kind] = SIZED.get(tag);
    const size = this.unsigned(width);
    if (size < least) fail("E_MP_MINIMAL", start);
    if (kind === "bin") return this.take(size);
    if (kind === "str") return this.text(size);
    return kind === "array" ? this.array(size, depth) : this.map(size, depth, start);
  }

  integer(tag) {
    const start = this.at - 1;
    const [width, signed, isShortest] = INTEGERS.get(tag);
    let number = BigInt(`0x${this.take(width).toString("hex")}`);
    if (signed) number = BigInt.asIntN(8 * width, number);
    if (!isShortest(number)) fail("E_MP_MINIMAL", start);
    const result = Number(number);
    if (!Number.isSafeInteger(result)) fail("E_MP_INT", start);
    return result;
  }

  float() {
    const number = this.take(8).readDoubleBE(0);
    if (!Number.isFinite(number) || Object.is(number, -0)) fail("E_MP_FLOAT", this.at - 9);
    return new Float(number);
  }

  text(size) {
    const bytes = this.take(size);
    try {
      return UTF8.decode(bytes);
    } catch {
      return fail("E_MP_UTF8", this.at - size);
    }
  }

  open(values, depth) {
    if (depth === MOST_DEPTH) fail("E_MP_DEPTH", this.at);
    if (values > this.left()) fail("E_MP_TRUNC", this.at);
    this.values += values;
    if (this.values > MOST_VALUES) fail("E_MP_LIMIT", this.at);
  }

  array(size, depth) {
    this.open(size, depth);
    const items = [];
    for (let i = 0; i < size; i++) items.push(this.value(depth + 1));
    return items;
  }

  map(size, depth, start) {
    this.open(2 * size, depth);
    const entries = new Map();
    let previous = "";
    for (let i = 0; i < size; i++) {
      const at = this.at;
      const key = this.key();
      if (key <= previous) fail("E_MP_ORDER", at);
      entries.set(key, this.value(depth + 1));
      previous = key;
    }
    this.spans.set(entries, this.bytes.subarray(start, this.at));
    return entries;
  }

  key() {
    const start = this.at;
    const tag = this.take(1)[0];
    let size = tag & 31;
    if (tag < 0xa0 || tag >= 0xc0) {
      const [width, least, kind] = SIZED.get(tag) ?? [0, 0, ""];
      if (kind !== "str") fail("E_MP_KEY", start);
      size = this.unsigned(width);
      if (size < least) fail("E_MP_MINIMAL", start);
    }
    const key = this.take(size).toString("latin1");
    if (!KEY.test(key)) fail("E_MP_KEY", start);
    return key;
  }
}

/** The value of canonical bytes, and the bytes of each of its maps. */
export function decodeMp1(bytes) {
  const reader = new Reader(bytes);
  const value = reader.value(0);
  if (reader.left() > 0) fail("E_MP_TRAIL", reader.at);
  return { value, spans: reader.spans };
}
