// A reader of `.rq` files for Node 20 and later, without dependencies, written from `spec/` alone.
//
//     import { read } from "./rq.mjs";
//     const { tensors, documents } = read(bytes, sibling); // everything checked, as `full`
//     tensors.get("b").values();                            // Float32Array
//
// `sibling(name)` gives the bytes of a shard beside the file, or null; files without shards need none.
//
//     node rq.mjs FILE... --json     one line of JSON a file
//     node rq.mjs FILE... --run      the same, and S7 too: whether the model in it can be run
//     node rq.mjs --stdin            frames of u32 length and bytes in, one line of JSON each out
//     node rq.mjs --paths            the same, but the bytes of a frame are the path of a file
//
// `zstd.mjs` decodes compressed segments; Node 20 itself cannot.

import { createHash } from "node:crypto";
import { readFileSync, readSync, statSync, writeSync } from "node:fs";
import { dirname, join } from "node:path";
import { pathToFileURL } from "node:url";
import { checkCodes, decode, expectedBytes, innerShape, parseLayout } from "./layout.mjs";
import { array, decodeMp1, isMap, mapWith, refuse as fail, RqError, typed } from "./mp1.mjs";
import { KIND_DOCUMENT, KIND_PLANE, MIB_64, readShards, References } from "./shards.mjs";
import { checkRunnable } from "./runnable.mjs";
import { decompress } from "./zstd.mjs";

export { RqError };

const MAGIC = Uint8Array.of(0x89, 0x52, 0x51, 0x46, 0x0d, 0x0a, 0x1a, 0x0a);
const UTF8 = new TextEncoder();

// ------------------------------------------------------------------------------ CRC-32, SHA-256

const CRC_TABLE = Uint32Array.from({ length: 256 }, (_, n) => {
  for (let k = 0; k < 8; k++) n = n & 1 ? (n >>> 1) ^ 0xedb88320 : n >>> 1;
  return n >>> 0;
});

export function crc32(bytes) {
  let crc = 0xffffffff;
  for (let i = 0; i < bytes.length; i++) crc = CRC_TABLE[(crc ^ bytes[i]) & 255] ^ (crc >>> 8);
  return (crc ^ 0xffffffff) >>> 0;
}

const sha256 = (...parts) => {
  const hash = createHash("sha256");
  for (const part of parts) hash.update(part);
  return hash.digest();
};

const asBuffer = (bytes) => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);

const same = (a, b) => a.length === b.length && a.every((byte, i) => byte === b[i]);

// ------------------------------------------------------------------------- S0 to S3: file, table

function readPreamble(data, view) {
  if (data.length < 128) fail("E_SIZE", `${data.length} bytes`);
  if (!same(data.subarray(0, 8), MAGIC)) fail("E_MAGIC", "no .rq file");
  const major = view.getUint16(8, true);
  if (major !== 1) fail("E_VERSION", `major version ${major}`);
  const features = view.getUint32(12, true);
  if (features & ~7) fail("E_FEATURE", `features ${features}; this reader has bits 0 to 2`);
  if (view.getUint32(28, true) !== 0) fail("E_RESERVED", "reserved word");
  if (view.getBigUint64(16, true) !== BigInt(data.length)) fail("E_LENGTH", "file length");
  const count = view.getUint32(24, true);
  if (count < 1 || count > 2 ** 20 || 64 + 64 * count > data.length) {
    fail("E_COUNT", `${count} segments`);
  }
  return [count, features];
}

const align = (n) => Math.ceil(n / 64) * 64;

function readSegments(data, view, count) {
  const segments = [];
  let end = 64 + 64 * count;
  for (let i = 0; i < count; i++) {
    const at = 64 + 64 * i;
    const offset = view.getBigUint64(at, true);
    const stored = view.getBigUint64(at + 8, true);
    const raw = view.getBigUint64(at + 16, true);
    const codec = data[at + 28];
    const kind = data[at + 29];
    if (view.getUint16(at + 30, true) !== 0) fail("E_SEG_FLAGS", `segment ${i}`);
    if (codec > 1 || (i === 0 && codec !== 0)) fail("E_SEG_CODEC", `segment ${i}`);
    if (kind > 2 || (i === 0) !== (kind === 0)) fail("E_SEG_KIND", `segment ${i}`);
    if (offset !== BigInt(align(end))) fail("E_SEG_OFFSET", `segment ${i}`);
    const start = align(end);
    if (start > data.length || stored > BigInt(data.length - start)) {
      fail("E_SEG_BOUNDS", `segment ${i}`);
    }
    for (let p = end; p < start; p++) if (data[p] !== 0) fail("E_PAD", `before segment ${i}`);
    if (stored === 0n) fail("E_SEG_EMPTY", `segment ${i}`);
    if (codec === 0 && raw !== stored) fail("E_SEG_RAWLEN", `segment ${i}`);
    if (codec === 1 && raw > BigInt(MIB_64)) fail("E_ZSTD_RAWMAX", `segment ${i}`);
    if (codec === 1 && raw <= stored) fail("E_ZSTD_NOGAIN", `segment ${i}`);
    if (i === 0 && raw > BigInt(MIB_64)) fail("E_LIMIT", "header");
    end = start + Number(stored);
    segments.push({
      bytes: data.subarray(start, end),
      size: Number(raw),
      codec,
      kind,
      crc: view.getUint32(at + 24, true),
      sha: data.subarray(at + 32, at + 64),
    });
  }
  return [segments, end];
}

function checkEnd(segments, end, size, features) {
  if (end !== size) fail("E_LENGTH", "bytes after the last segment");
  const frames = segments.filter((segment) => segment.codec === 1);
  if (frames.length > 0 !== ((features & 1) === 1)) fail("E_FEATURE", "the zstd bit is wrong");
  const total = frames.reduce((sum, segment) => sum + segment.size, 0);
  if (total > Math.max(4 * size, 256 * 2 ** 20)) fail("E_BUDGET", `${total} bytes`);
}

/** S8 of one segment; after it, `bytes` are the decoded ones. */
function verify(segment, what) {
  if (crc32(segment.bytes) !== segment.crc) fail("E_SEG_CRC", what);
  if (segment.codec === 1) segment.bytes = decompress(asBuffer(segment.bytes), segment.size);
  if (!same(sha256(segment.bytes), segment.sha)) fail("E_SEG_SHA", what);
}

// ---------------------------------------------------------------------- S6: the header (chapter 4)

const compareBytes = (a, b) => Buffer.compare(UTF8.encode(a), UTF8.encode(b));

function name(value, where, previous) {
  typed(value, "string", where);
  const size = UTF8.encode(value).length;
  if (size < 1 || size > 512) fail("E_NAME", `${where}: ${size} bytes`);
  for (const c of value) {
    if (c < " " || c === "\x7f") fail("E_NAME", `${where}: control character`);
  }
  if (previous !== undefined) {
    const order = compareBytes(value, previous);
    if (order === 0) fail("E_DUP", where);
    if (order < 0) fail("E_ORDER", where);
  }
  return value;
}

function word(value, where) {
  typed(value, "string", where);
  if (!/^[a-z][a-z0-9_.-]{0,63}$/.test(value)) fail("E_NAME", where);
  return value;
}

function checkExtensions(ext) {
  if (!isMap(ext)) fail("E_SCHEMA_TYPE", "ext");
  if (ext.size === 0) fail("E_SCHEMA_EMPTY", "ext");
  for (const [key, entry] of ext) {
    if (!/^x-[a-z0-9]+\.[a-z0-9_.-]+$/.test(key)) fail("E_NAME", `ext.${key}`);
    mapWith(entry, `ext.${key}`, ["critical", "data"], ["follows"]);
    if (entry.has("follows") && entry.get("follows") !== "tensors") {
      fail("E_SCHEMA_TYPE", `ext.${key}.follows`);
    }
    if (typed(entry.get("critical"), "boolean", `ext.${key}`)) fail("E_EXT_CRITICAL", key);
  }
}

function readDocuments(value, references) {
  const documents = new Map();
  const medias = new Map();
  let previous;
  array(value, "docs", 2 ** 20).forEach((entry, i) => {
    const where = `docs[${i}]`;
    mapWith(entry, where, ["media", "name", "seg"]);
    previous = name(entry.get("name"), where, previous);
    const media = typed(entry.get("media"), "string", where);
    if (media.length > 128 || !/^[!-~]+\/[!-~]+(?:; ?[!-~]+)*$/.test(media)) {
      fail("E_NAME", `${where}.media`);
    }
    const pieces = references.take(entry.get("seg"), KIND_DOCUMENT, where);
    if (references.size(pieces) > MIB_64) fail("E_LIMIT", where);
    if (pieces.numbers.length > 1) fail("E_CUT", where);
    documents.set(previous, pieces);
    medias.set(previous, media);
  });
  return [documents, medias];
}

function readSchemes(value, spans) {
  const known = new Set();
  let size = 0;
  return array(value, "schemes", 4096).map((description, i) => {
    const layout = parseLayout(description, `schemes[${i}]`);
    const bytes = spans.get(description).toString("latin1");
    if (known.has(bytes)) fail("E_DUP", `schemes[${i}]`);
    known.add(bytes);
    for (const plane of layout.planes.values()) size += plane.bytes;
    if (size > 2 ** 22) fail("E_LIMIT", `schemes[${i}]: records of ${size} bytes`);
    return layout;
  });
}

function readShape(value, where) {
  if (!Array.isArray(value)) fail("E_SCHEMA_TYPE", where);
  if (value.length < 1 || value.length > 8) fail("E_SHAPE", where);
  let product = 1n;
  for (const n of value) {
    typed(n, "number", where);
    if (n < 1 || n > 2 ** 40) fail("E_SHAPE", where);
    product *= BigInt(n);
  }
  if (product > BigInt(Number.MAX_SAFE_INTEGER)) fail("E_SHAPE", where);
  return value;
}

function readTensors(value, layouts, references) {
  const tensors = new Map();
  let previous;
  let used = 0;
  array(value, "tensors", 2 ** 18).forEach((entry, i) => {
    const where = `tensors[${i}]`;
    mapWith(entry, where, ["name", "planes", "scheme", "shape"]);
    previous = name(entry.get("name"), where, previous);
    const shape = readShape(entry.get("shape"), where);
    const scheme = typed(entry.get("scheme"), "number", where);
    if (scheme < 0 || scheme >= layouts.length) fail("E_REF", `${where}.scheme`);
    if (scheme > used) fail("E_ORDER", `${where}.scheme`);
    used = Math.max(used, scheme + 1);
    const layout = layouts[scheme];
    const planes = readPlanes(entry.get("planes"), layout, shape, references, where);
    tensors.set(previous, { shape, layout, planes });
  });
  if (used < layouts.length) fail("E_UNREF", `schemes[${used}]`);
  return tensors;
}

function readPlanes(value, layout, shape, references, where) {
  if (!isMap(value)) fail("E_SCHEMA_TYPE", `${where}.planes`);
  const isSame = value.size === layout.stored.size && [...value.keys()].every((k) => layout.stored.has(k));
  if (!isSame) fail("E_PLANES", where);
  const planes = new Map();
  let total = 0n;
  for (const [plane, listed] of value) {
    const pieces = references.take(listed, KIND_PLANE, `${where}.${plane}`);
    const expected = expectedBytes(layout, plane, shape);
    references.expect(pieces, expected, `${where}.${plane}`);
    planes.set(plane, pieces);
    total += expected;
  }
  const weights = innerShape(layout, shape).reduce((a, b) => a * b, 1);
  if (weights > 65536 && BigInt(weights) > 64n * total) fail("E_LIMIT", `${where}: ${weights} weights`);
  return planes;
}

function readAliases(value, tensors) {
  const aliases = new Map();
  let previous;
  if (array(value, "alias", 2 ** 18).length === 0) fail("E_SCHEMA_EMPTY", "alias");
  value.forEach((entry, i) => {
    mapWith(entry, `alias[${i}]`, ["name", "of"]);
    previous = name(entry.get("name"), `alias[${i}]`, previous);
    if (tensors.has(previous)) fail("E_DUP", `alias[${i}]`);
    const of = typed(entry.get("of"), "string", `alias[${i}]`);
    if (!tensors.has(of)) fail("E_REF", `alias[${i}]`);
    aliases.set(previous, of);
  });
  return aliases;
}

function checkChatText(value, where) {
  if (UTF8.encode(typed(value, "string", where)).length > 65536) fail("E_LIMIT", where);
}

function checkChat(value) {
  mapWith(value, "chat", ["prompt", "start", "turns"]);
  checkChatText(value.get("prompt"), "chat.prompt");
  checkChatText(value.get("start"), "chat.start");
  mapWith(value.get("turns"), "chat.turns", ["assistant", "user"], ["system"]);
  for (const [role, pair] of value.get("turns")) {
    if (!Array.isArray(pair) || pair.length !== 2) fail("E_SCHEMA_TYPE", `chat.turns.${role}`);
    for (const text of pair) checkChatText(text, `chat.turns.${role}`);
  }
}

function checkArchitecture(value) {
  mapWith(value, "arch", ["family", "fields"]);
  if (!isMap(value.get("fields"))) fail("E_SCHEMA_TYPE", "arch.fields");
  word(value.get("family"), "arch.family");
}

function checkTokenizer(value, documents) {
  mapWith(value, "tokenizer", ["add_bos", "doc", "eos", "kind"], ["bos"]);
  const doc = typed(value.get("doc"), "string", "tokenizer.doc");
  if (!documents.has(doc)) fail("E_REF", "tokenizer.doc");
  const eos = array(value.get("eos"), "tokenizer.eos", 1024);
  for (const id of eos) typed(id, "number", "tokenizer.eos");
  eos.reduce((last, id) => (id > last ? id : fail("E_ORDER", "tokenizer.eos")), -1);
  if (value.has("bos") && typed(value.get("bos"), "number", "tokenizer.bos") < 0) {
    fail("E_SCHEMA_TYPE", "tokenizer.bos");
  }
  word(value.get("kind"), "tokenizer.kind");
  typed(value.get("add_bos"), "boolean", "tokenizer.add_bos");
}

function readHeader(bytes, segments, features, asShard) {
  const { value: header, spans } = decodeMp1(bytes);
  mapWith(header, "header", ["core", "info"], ["ext"]);
  if (!isMap(header.get("info"))) fail("E_SCHEMA_TYPE", "info");
  if (header.has("ext")) checkExtensions(header.get("ext"));
  const core = header.get("core");
  if (!isMap(core)) fail("E_SCHEMA_TYPE", "core");
  const isShard = core.has("role");
  if (isShard) {
    mapWith(core, "core", ["role"]);
    if (core.get("role") !== "shard") fail("E_SCHEMA_TYPE", "core.role");
  } else {
    mapWith(core, "core", ["docs", "schemes", "tensors"], ["alias", "arch", "chat", "shards", "tokenizer"]);
  }
  if ((isShard || core.has("shards")) !== ((features & 2) === 2)) {
    fail("E_FEATURE", "the shards bit is wrong");
  }
  if (isShard !== asShard) fail("E_SHARD_ROLE", isShard ? "a shard" : "a model of its own");
  const hasBit = (features & 4) === 4;
  if (isShard && hasBit) fail("E_FEATURE", "the bit for operators is wrong");
  if (isShard) return {};
  const shards = core.has("shards") ? readShards(core.get("shards")) : [];
  const references = new References(segments, shards);
  const [documents, media] = readDocuments(core.get("docs"), references);
  const layouts = readSchemes(core.get("schemes"), spans);
  if (layouts.some((layout) => layout.ops) !== hasBit) {
    fail("E_FEATURE", "the bit for operators is wrong");
  }
  const tensors = readTensors(core.get("tensors"), layouts, references);
  references.finish();
  const aliases = core.has("alias") ? readAliases(core.get("alias"), tensors) : new Map();
  if (core.has("arch")) checkArchitecture(core.get("arch"));
  if (core.has("tokenizer")) checkTokenizer(core.get("tokenizer"), documents);
  if (core.has("chat")) checkChat(core.get("chat"));
  return { references, shards, documents, media, tensors, aliases, header };
}

// ---------------------------------------------------------------------------------- the whole file

/** Stages S0 to S6 of one file. */
function open(data, asShard) {
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  const [count, features] = readPreamble(data, view);
  const root = sha256(data.subarray(0, 32), data.subarray(64, 64 + 64 * count));
  if (!same(root, data.subarray(32, 64))) fail("E_TABLE_DIGEST", "root");
  const [segments, end] = readSegments(data, view, count);
  checkEnd(segments, end, data.length, features);
  verify(segments[0], "header");
  return { segments, ...readHeader(segments[0].bytes, segments, features, asShard) };
}

/** The segments of a shard, once it is known to be the one that the root pins. */
function openShard({ title, length, root }, sibling) {
  const data = sibling(title);
  if (data === null) fail("E_SHARD_MISSING", title);
  if (data.length !== length) fail("E_SHARD_LENGTH", title);
  if (!same(data.subarray(32, 64), root)) fail("E_SHARD_ROOT", title);
  return open(data, true).segments;
}

/** Read a file's bytes, checking S0 to S6 and S8. Throws RqError with the code of the first rule. */
export function read(data, sibling = () => null) {
  const found = open(data, false);
  for (const shard of found.shards) found.references.enter(shard, openShard(shard, sibling));
  for (const segments of found.references.files) {
    segments.forEach((segment, i) => i > 0 && verify(segment, `segment ${i}`));
  }
  const tensors = new Map();
  for (const [tensor, { shape, layout, planes }] of found.tensors) {
    const bytes = new Map([...planes].map(([p, n]) => [p, found.references.bytes(n)]));
    for (const plane of planes.keys()) checkCodes(layout, plane, bytes.get(plane), shape);
    tensors.set(tensor, { shape, values: () => decode(layout, bytes, shape) });
  }
  const documents = new Map();
  for (const [title, numbers] of found.documents) {
    documents.set(title, found.references.bytes(numbers));
  }
  return { tensors, documents, media: found.media, aliases: found.aliases, header: found.header };
}

// ------------------------------------------------------------------------------------ command line

function digestOfValues(values) {
  const bits = new Uint32Array(values.buffer, values.byteOffset, values.length);
  const bytes = Buffer.alloc(4 * bits.length);
  for (let i = 0; i < bits.length; i++) {
    bytes.writeUInt32LE((bits[i] & 0x7fffffff) > 0x7f800000 ? 0x7fc00000 : bits[i], 4 * i);
  }
  return sha256(bytes).toString("hex");
}

/** What the command prints about a file: digests of everything decoded, or the code. */
export function report(data, { sibling, run } = {}) {
  try {
    const file = read(data, sibling);
    if (run) checkRunnable(file);
    const { tensors, documents } = file;
    // Arrays of pairs, because a name may be one that objects have already.
    return {
      tensors: [...tensors].map(([title, tensor]) => [
        title,
        { shape: tensor.shape, sha256: digestOfValues(tensor.values()) },
      ]),
      documents: [...documents].map(([title, text]) => [title, sha256(text).toString("hex")]),
    };
  } catch (error) {
    if (!(error instanceof RqError)) throw error;
    return { code: error.code, message: error.message };
  }
}

function readExactly(size) {
  const bytes = Buffer.alloc(size);
  for (let at = 0; at < size; ) {
    const got = readSync(0, bytes, at, size - at, null);
    if (got === 0) return at === 0 ? null : bytes.subarray(0, at);
    at += got;
  }
  return bytes;
}

function serve(answer) {
  for (let head = readExactly(4); head !== null; head = readExactly(4)) {
    const data = readExactly(head.readUInt32LE(0));
    let line = JSON.stringify(answer(data ?? Buffer.alloc(0))) + "\n";
    for (let rest = Buffer.from(line); rest.length; ) rest = rest.subarray(writeSync(1, rest));
  }
}

/** Bytes of the regular file of some name beside a path; null if there is none. */
const beside = (path) => (title) => {
  const place = join(dirname(path), title);
  return statSync(place, { throwIfNoEntry: false })?.isFile() ? readFileSync(place) : null;
};

function main(options) {
  const run = options.includes("--run");
  const named = (path) => report(readFileSync(path), { sibling: beside(path), run });
  if (options.includes("--stdin")) return serve((data) => report(data, { run }));
  if (options.includes("--paths")) return serve((data) => named(data.toString("utf8")));
  let status = 0;
  for (const path of options.filter((option) => !option.startsWith("--"))) {
    const found = named(path);
    if (found.code) status = 3;
    process.stdout.write(JSON.stringify(found) + "\n");
  }
  process.exitCode = status;
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) main(process.argv.slice(2));
