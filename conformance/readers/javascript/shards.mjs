// Shards and the references into them (chapter 9); a file without shards is a root without any.

import { array, mapWith, refuse as fail, typed } from "./mp1.mjs";

export const MIB_64 = 64 * 2 ** 20;
export const KIND_PLANE = 1;
export const KIND_DOCUMENT = 2;

const DEVICE = /^(con|prn|aux|nul|(com|lpt)[0-9])$/i;

/** The shards that a root lists. */
export function readShards(value) {
  const names = new Set();
  if (array(value, "shards", 4096).length === 0) fail("E_SCHEMA_EMPTY", "shards");
  return value.map((entry, i) => {
    const where = `shards[${i}]`;
    mapWith(entry, where, ["file_len", "name", "root"]);
    const title = typed(entry.get("name"), "string", where);
    const isSafe = /^[A-Za-z0-9][A-Za-z0-9._-]*\.rq$/.test(title) && !title.endsWith("\n");
    if (title.length > 128 || !isSafe || title.includes("..") || DEVICE.test(title.split(".")[0])) {
      fail("E_SHARD_NAME", where);
    }
    const length = typed(entry.get("file_len"), "number", where);
    if (length < 128) fail("E_SHARD_LENGTH", where);
    const root = entry.get("root");
    if (!Buffer.isBuffer(root) || root.length !== 32) fail("E_SCHEMA_TYPE", `${where}.root`);
    if (names.has(title.toLowerCase())) fail("E_DUP", where);
    names.add(title.toLowerCase());
    return { title, length, root, uses: [] };
  });
}

function checkKind(segments, n, kind, where) {
  if (n < 1 || n >= segments.length) fail("E_REF", `${where}: segment ${n}`);
  if (segments[n].kind !== kind) fail("E_REF", `${where}: kind of segment ${n}`);
}

function checkCut(sizes, segments, where) {
  if (sizes.length < 2) return;
  const isRegular = sizes.slice(0, -1).every((size) => size === MIB_64) && sizes.at(-1) <= MIB_64;
  if (!isRegular || segments.every(({ codec }) => codec === 0)) fail("E_CUT", where);
}

export class References {
  constructor(segments, shards) {
    this.files = [segments];
    this.shards = shards;
    this.file = 0;
    this.due = 1;
  }

  /** The pieces that an array refers to: the file that all are in, and their numbers there. */
  take(value, kind, where) {
    array(value, where, 2 ** 20);
    const isPair = (item) => Array.isArray(item) && item.length === 2;
    const pairs = value.map((item) => {
      if (this.shards.length === 0) return [0, typed(item, "number", where)];
      if (!isPair(item)) fail("E_SCHEMA_TYPE", `${where}: expected pairs`);
      return item.map((n) => typed(n, "number", where));
    });
    for (const [file, n] of pairs) this.takeOne(file, n, kind, where);
    const file = pairs.length ? pairs[0][0] : 0;
    if (pairs.some((pair) => pair[0] !== file)) fail("E_CUT", `${where}: in two files`);
    return { file, numbers: pairs.map((pair) => pair[1]) };
  }

  takeOne(file, n, kind, where) {
    if (file === 0) checkKind(this.files[0], n, kind, where);
    else if (file < 1 || file > this.shards.length) fail("E_REF", `${where}: file ${file}`);
    else if (n < 1 || n >= 2 ** 20) fail("E_REF", `${where}: segment ${n}`);
    else if (kind === KIND_DOCUMENT) fail("E_REF", `${where}: a document in a shard`);
    if (file < this.file || (file === this.file && n < this.due)) fail("E_SHARED", where);
    const isDone = this.file === 0 ? this.due === this.files[0].length : this.due > 1;
    const beginsNext = isDone && file === this.file + 1 && n === 1;
    if (!beginsNext && (file !== this.file || n !== this.due)) fail("E_ORDER", where);
    this.file = file;
    this.due = n + 1;
  }

  finish() {
    if (this.file === 0 && this.due !== this.files[0].length) fail("E_UNREF", `segment ${this.due}`);
    if (this.file !== this.shards.length) fail("E_UNREF", `shard ${this.file + 1}`);
  }

  size({ file, numbers }) {
    return numbers.reduce((sum, n) => sum + this.files[file][n].size, 0);
  }

  /** Hold a plane's segments against the bytes that it takes; in a shard, once it is opened. */
  expect(pieces, expected, where) {
    if (pieces.file !== 0) {
      this.shards[pieces.file - 1].uses.push({ pieces, expected, where });
      return;
    }
    if (BigInt(this.size(pieces)) !== expected) fail("E_PLANE_SIZE", where);
    checkCut(pieces.numbers.map((n) => this.files[0][n].size), this.files[0], where);
  }

  /** A shard's segments, once they are what the root expects of them. */
  enter(shard, segments) {
    this.files.push(segments);
    for (const { pieces, expected, where } of shard.uses) {
      for (const n of pieces.numbers) checkKind(segments, n, KIND_PLANE, where);
      if (BigInt(this.size(pieces)) !== expected) fail("E_PLANE_SIZE", where);
      checkCut(pieces.numbers.map((n) => segments[n].size), segments, where);
    }
    const used = shard.uses.reduce((sum, { pieces }) => sum + pieces.numbers.length, 1);
    if (used !== segments.length) fail("E_UNREF", `${shard.title}: segment ${used}`);
  }

  bytes({ file, numbers }) {
    if (numbers.length === 1) return this.files[file][numbers[0]].bytes;
    return Buffer.concat(numbers.map((n) => this.files[file][n].bytes));
  }
}
