// Descriptors (chapter 5) and the numbers of small floats (chapter on numerics).

import { Float, isMap, mapWith, refuse as fail } from "./mp1.mjs";

const MOST_AXES = 8;
const MOST_BITS = 8 * 65536;
const EXTENT = 2 ** 40;
const SPECIALS = ["ieee", "fn", "fnuz", "none", "e8m0"];
const ELEMENT_KEYS = {
  u: ["b"],
  i: ["b"],
  d: ["base", "n"],
  f: ["s", "e", "m", "bias", "sp"],
};

// ------------------------------------------------------------------------------------- first pass

function numbers(value, where, most, low, high) {
  if (!Array.isArray(value) || value.some((n) => typeof n !== "number")) {
    fail("E_SCHEMA_TYPE", `${where}: expected integers`);
  }
  if (value.length > most || value.some((n) => n < low || n > high)) {
    fail("E_DESC_BLOCK", `${where}: out of range`);
  }
  return value;
}

function named(value, where, most) {
  if (!isMap(value)) fail("E_SCHEMA_TYPE", where);
  if (value.size === 0) fail("E_SCHEMA_EMPTY", where);
  if (value.size > most) fail("E_LIMIT", where);
  return value;
}

const each = (map, parse, where) =>
  new Map([...map].map(([name, value]) => [name, parse(value, `${where}.${name}`)]));

function parsePlane(value, where) {
  mapWith(value, where, ["block", "bytes"], ["order"]);
  const block = numbers(value.get("block"), where, MOST_AXES, 0, EXTENT);
  const bytes = value.get("bytes");
  if (typeof bytes !== "number") fail("E_SCHEMA_TYPE", `${where}.bytes`);
  const order = value.has("order")
    ? numbers(value.get("order"), where, MOST_AXES, 0, MOST_AXES)
    : null;
  return { block, bytes, order };
}

function parseElement(value, where) {
  if (!isMap(value)) fail("E_SCHEMA_TYPE", where);
  const kind = value.get("k");
  if (typeof kind !== "string" || !Object.hasOwn(ELEMENT_KEYS, kind)) fail("E_DESC_ELEM", where);
  mapWith(value, where, ["k", ...ELEMENT_KEYS[kind]]);
  for (const [key, n] of value) {
    if (key !== "k" && key !== "sp" && typeof n !== "number") fail("E_SCHEMA_TYPE", where);
  }
  if (kind === "f" && !SPECIALS.includes(value.get("sp"))) fail("E_DESC_ELEM", where);
  const element = Object.fromEntries(value);
  element.bits = { u: element.b, i: element.b, d: 8, f: element.s + element.e + element.m }[kind];
  return element;
}

function parseSlice(value, where) {
  if (!Array.isArray(value) || value.length !== 4) fail("E_SCHEMA_TYPE", where);
  const [bits] = numbers([value[0]], where, 1, 1, 32);
  const [base] = numbers([value[1]], where, 1, 0, MOST_BITS);
  const shape = numbers(value[2], where, MOST_AXES, 1, MOST_BITS);
  const strides = numbers(value[3], where, MOST_AXES, 0, MOST_BITS);
  if (shape.length !== strides.length) fail("E_DESC_SLICE", where);
  // Beyond 2^53 a product is no longer exact, but still too large for any record.
  const runs = shape.reduce((a, b) => a * b, 1);
  const end = shape.reduce((sum, n, a) => sum + (n - 1) * strides[a], base) + bits;
  return { bits, base, shape, strides, runs, end };
}

function parsePiece(value, where) {
  if (!Array.isArray(value) || value.length < 1 || value.length > 8) fail("E_SCHEMA_TYPE", where);
  return value.map((slice) => parseSlice(slice, where));
}

function parseField(value, where) {
  mapWith(value, where, ["plane", "elem", "over", "at"]);
  const plane = value.get("plane");
  const at = value.get("at");
  if (typeof plane !== "string" || !Array.isArray(at)) fail("E_SCHEMA_TYPE", where);
  const element = parseElement(value.get("elem"), `${where}.elem`);
  const over = numbers(value.get("over"), where, MOST_AXES, 0, EXTENT);
  if (at.length < 1 || at.length > 64) fail("E_LIMIT", `${where}.at`);
  const pieces = at.map((piece) => parsePiece(piece, `${where}.at`));
  const codesPerRun = element.k === "d" ? element.n : 1;
  return { plane, element, over, pieces, codesPerRun };
}

function parseTable(value, where) {
  if (!Buffer.isBuffer(value)) fail("E_SCHEMA_TYPE", where);
  if (value.length % 4 || value.length < 4 || value.length > 262144) fail("E_DESC_TABLE", where);
  return Float32Array.from({ length: value.length / 4 }, (_, i) => value.readFloatLE(4 * i));
}

function parseFormula(value, where, depth = 1) {
  if (depth > 8) fail("E_DESC_EXPR", where);
  if (typeof value === "string" || value instanceof Float) return value;
  if (!Array.isArray(value) || typeof value[0] !== "string") fail("E_DESC_EXPR", where);
  const [operator, left, right] = value;
  if (!["add", "sub", "mul", "div", "lut"].includes(operator)) fail("E_DESC_OP", where);
  if (value.length !== 3) fail("E_DESC_EXPR", where);
  if (operator === "lut" && !(typeof left === "string" && typeof right === "string")) {
    fail("E_DESC_EXPR", where);
  }
  return {
    operator,
    left: parseFormula(left, where, depth + 1),
    right: parseFormula(right, where, depth + 1),
  };
}

// ------------------------------------------------------------------------------------ second pass

function checkPlane({ block, bytes, order }, where) {
  if (bytes < 1 || bytes > 65536) fail("E_DESC_BLOCK", where);
  if (order) {
    const sorted = [...order].sort((a, b) => a - b);
    const isReordering = order.length === block.length && sorted.every((axis, i) => axis === i);
    if (!isReordering || order.every((axis, i) => axis === i)) fail("E_DESC_PERM", where);
  }
  if (block.length === 0 || (!order && block.length > 1 && block[0] === 1)) {
    fail("E_DESC_BLOCK", where);
  }
}

function isElement(element) {
  const { k, b, base, n, s, e, m, bias, sp, bits } = element;
  if (k === "u") return b >= 1 && b <= 24;
  if (k === "i") return b >= 2 && b <= 24;
  if (k === "d") return base >= 2 && base <= 16 && n >= 1 && n <= 8 && base ** n <= 256;
  if (![4, 6, 8, 16, 32].includes(bits)) return false;
  if (bits === 32) return s === 1 && e === 8 && m === 23 && bias === 127 && sp === "ieee";
  if ((s !== 0 && s !== 1) || e < 1 || e > 8 || m < 0) return false;
  if (sp === "e8m0" && (s !== 0 || e !== 8 || m !== 0)) return false;
  const top = 2 ** e - (sp === "ieee" || sp === "e8m0" ? 2 : 1) - bias;
  const least = (sp === "e8m0" ? 0 : 1) - bias - m;
  return top <= 127 && least >= -149;
}

function checkField(field, plane, where) {
  const { element, over, pieces } = field;
  if (over.length !== plane.block.length) fail("E_DESC_RANK", where);
  let shares = 1;
  over.forEach((o, a) => {
    const block = plane.block[a];
    if ((o === 0) !== (block === 0) || (o && block % o)) fail("E_DESC_BLOCK", where);
    if (o) shares *= block / o;
  });
  const recordBits = 8 * plane.bytes;
  for (const piece of pieces) {
    const bits = piece.reduce((sum, slice) => sum + slice.bits, 0);
    const isSound =
      piece.every((slice) => slice.runs === piece[0].runs && slice.end <= recordBits) &&
      bits <= element.bits &&
      (element.k !== "d" || (piece.length === 1 && piece[0].bits === 8));
    if (!isSound) fail("E_DESC_SLICE", where);
  }
  const codes = pieces.reduce((sum, piece) => sum + piece[0].runs, 0) * field.codesPerRun;
  const spare = pieces.at(-1)[0].runs * (field.codesPerRun - 1);
  if (codes > recordBits || codes < shares || codes > shares + spare) fail("E_DESC_SLICE", where);
}

function checkShares(fields, where) {
  for (let axis = 1; axis <= MOST_AXES; axis++) {
    const shares = [...fields.values()]
      .filter(({ over }) => over.length >= axis && over.at(-axis) > 0)
      .map(({ over }) => over.at(-axis))
      .sort((a, b) => a - b);
    for (let i = 1; i < shares.length; i++) {
      if (shares[i] % shares[i - 1]) fail("E_DESC_BLOCK", where);
    }
  }
}

/** No bit of a plane's record belongs to two runs (D-15). */
function checkOverlap(fields, name, bytes, where) {
  const slices = fields.filter(({ plane }) => plane === name).flatMap(({ pieces }) => pieces.flat());
  const total = slices.reduce((sum, { runs, bits }) => sum + runs * bits, 0);
  if (total > 8 * bytes) fail("E_DESC_OVERLAP", where);
  const taken = new Uint8Array(8 * bytes);
  for (const slice of slices) {
    for (let run = 0; run < slice.runs; run++) {
      const start = startOf(slice, run);
      for (let bit = start; bit < start + slice.bits; bit++) {
        if (taken[bit]++) fail("E_DESC_OVERLAP", where);
      }
    }
  }
}

function parts(formula, found = { nodes: 0, constants: [], fields: [], lookups: [] }) {
  found.nodes++;
  if (typeof formula === "string") found.fields.push(formula);
  else if (formula instanceof Float) found.constants.push(formula.number);
  else if (formula.operator === "lut") {
    found.lookups.push(formula);
    parts(formula.right, found);
  } else {
    parts(formula.left, found);
    parts(formula.right, found);
  }
  return found;
}

function checkFormula({ planes, fields, tables, formula }, where) {
  const found = parts(formula);
  if (found.nodes > 64) fail("E_DESC_EXPR", where);
  if (found.constants.some((c) => Math.fround(c) !== c)) fail("E_DESC_EXPR", where);
  if (found.fields.some((name) => !fields.has(name))) fail("E_DESC_EXPR", where);
  if ([...fields.keys()].some((name) => !found.fields.includes(name))) fail("E_DESC_UNUSED", where);
  const used = new Set([...fields.values()].map((field) => field.plane));
  if ([...planes.keys()].some((name) => !used.has(name))) fail("E_DESC_UNUSED", where);
  for (const { left, right } of found.lookups) {
    const { element, over } = fields.get(right);
    const { k, b } = element;
    if (!tables.has(left) || k !== "u") fail("E_DESC_EXPR", where);
    const table = tables.get(left);
    const sizes = [2 ** b, over.length === 1 ? over[0] * 2 ** b : 0];
    if (!sizes.includes(table.length) || !table.every(Number.isFinite)) {
      fail("E_DESC_TABLE", where);
    }
  }
  if ([...tables.keys()].some((name) => !found.lookups.some(({ left }) => left === name))) {
    fail("E_DESC_UNUSED", where);
  }
}

// -------------------------------------------------------------------------------------- operators

function parseView(value, where) {
  if (!Array.isArray(value) || typeof value[0] !== "string") fail("E_SCHEMA_TYPE", where);
  const [kind, ...given] = value;
  if (given.some((n) => typeof n !== "number")) fail("E_SCHEMA_TYPE", where);
  if (kind === "flat" && given.length === 0) return { kind };
  if (kind !== "parts" || given.length !== 3) fail("E_DESC_OPS", where);
  const [group, axis, parts] = given;
  const isSound = group >= 1 && group <= EXTENT && (axis === 0 || axis === 1);
  if (!isSound || parts < 2 || parts > 64) fail("E_DESC_OPS", where);
  return { kind, group, axis, parts };
}

function parseWords(value, planes, where) {
  if (!isMap(value)) fail("E_SCHEMA_TYPE", where);
  if (value.size === 0) fail("E_SCHEMA_EMPTY", where);
  for (const [name, words] of value) {
    if (typeof words !== "number") fail("E_SCHEMA_TYPE", where);
    const plane = planes.get(name);
    if (!plane || words < 2 || words > 64 || plane.bytes % words) fail("E_DESC_OPS", where);
  }
  return value;
}

function parseGather(value, { planes, fields, tables, formula }, where) {
  mapWith(value, where, ["index", "planes"]);
  const index = value.get("index");
  const listed = value.get("planes");
  if (typeof index !== "string" || !Array.isArray(listed)) fail("E_SCHEMA_TYPE", where);
  if (listed.some((name) => typeof name !== "string")) fail("E_SCHEMA_TYPE", where);
  if (!/^[a-z][a-z0-9_.-]{0,63}$/.test(index) || planes.has(index)) fail("E_DESC_OPS", where);
  const isSorted = listed.every((name, i) => planes.has(name) && (i === 0 || listed[i - 1] < name));
  if (listed.length === 0 || !isSorted) fail("E_DESC_OPS", where);
  for (const name of listed) {
    const { block, bytes } = planes.get(name);
    if (bytes > 16) fail("E_DESC_OPS", where);
    for (const [key, { plane, over, element }] of fields) {
      if (plane !== name) continue;
      if (over.at(-1) !== block.at(-1)) fail("E_DESC_OPS", where);
      for (const { left, right } of parts(formula).lookups) {
        if (right === key && tables.get(left).length > 2 ** element.b) fail("E_DESC_OPS", where);
      }
    }
  }
  return { index, planes: listed };
}

/** `ops`, once everything else in the descriptor is known to be right. */
function parseOperators(value, layout, where) {
  if (!isMap(value)) fail("E_SCHEMA_TYPE", where);
  if (value.size === 0) fail("E_SCHEMA_EMPTY", where);
  const known = ["gather", "view", "words"];
  if ([...value.keys()].some((key) => !known.includes(key))) fail("E_DESC_OPS", where);
  if (value.has("view") && value.size > 1) fail("E_DESC_OPS", where);
  const view = value.has("view") ? parseView(value.get("view"), where) : null;
  const words = value.has("words") ? parseWords(value.get("words"), layout.planes, where) : new Map();
  const gather = value.has("gather") ? parseGather(value.get("gather"), layout, where) : null;
  return { view, words, gather };
}

/** The layout that a descriptor declares; throws with the code of the first rule broken. */
export function parseLayout(value, where) {
  mapWith(value, where, ["rqd", "planes", "fields", "value"], ["ops", "tables"]);
  if (value.get("rqd") !== 1) fail("E_DESC_VERSION", where);
  const planes = each(named(value.get("planes"), where, 16), parsePlane, where);
  const fields = each(named(value.get("fields"), where, 16), parseField, where);
  const tables = value.has("tables")
    ? each(named(value.get("tables"), where, 16), parseTable, where)
    : new Map();
  const formula = parseFormula(value.get("value"), where);
  for (const [name, plane] of planes) checkPlane(plane, `${where}.planes.${name}`);
  for (const [name, field] of fields) {
    if (!planes.has(field.plane)) fail("E_DESC_EXPR", `${where}.fields.${name}`);
    if (!isElement(field.element)) fail("E_DESC_ELEM", `${where}.fields.${name}`);
    checkField(field, planes.get(field.plane), `${where}.fields.${name}`);
  }
  checkShares(fields, where);
  for (const [name, { bytes }] of planes) checkOverlap([...fields.values()], name, bytes, where);
  const layout = { planes, fields, tables, formula };
  checkFormula(layout, where);
  layout.ops = value.has("ops") ? parseOperators(value.get("ops"), layout, `${where}.ops`) : null;
  // The index is a plane of its own: an int32 for each place of the last axis.
  layout.stored = new Set(planes.keys());
  if (layout.ops?.gather) layout.stored.add(layout.ops.gather.index);
  return layout;
}

// --------------------------------------------------------------------------------------- decoding

/** Extents with one number an axis. */
function filled(extents, shape) {
  const surplus = Math.max(extents.length - shape.length, 0);
  if (extents.slice(0, surplus).some((n) => n !== 0)) fail("E_DESC_RANK", "surplus extents");
  const given = extents.slice(surplus);
  const all = [...Array(shape.length - given.length).fill(1), ...given];
  return all.map((n, a) => n || shape[a]);
}

/** The matrix that a view cuts into parts. */
function matrixOf({ group, axis }, shape) {
  const weights = shape.reduce((a, b) => a * b, 1);
  if (weights % group) fail("E_DESC_RANK", "no whole groups");
  const rows = axis === 1 ? weights / group : group;
  return { rows, columns: weights / rows };
}

/** The shape that a layout's planes are of (D-24). */
export function innerShape({ ops }, shape) {
  if (!ops?.view) return shape;
  if (ops.view.kind === "flat") return [shape.reduce((a, b) => a * b, 1)];
  const { rows, columns } = matrixOf(ops.view, shape);
  return [Math.ceil(rows / ops.view.parts), columns, ops.view.parts];
}

/** Axes in the order in which a plane's records are stored. */
function storedAxes({ order }, rank) {
  const fixed = rank - (order?.length ?? 0);
  return Array.from({ length: rank }, (_, a) => (a < fixed ? a : fixed + order[a - fixed]));
}

/** Records of a plane that are there: all of its grid, or up to the last that has a weight. */
function recordCount(layout, plane, shape) {
  const inner = innerShape(layout, shape);
  const blocks = filled(plane.block, inner);
  if (plane.order && plane.order.length > inner.length) fail("E_DESC_RANK", "order");
  const grid = inner.map((n, a) => BigInt(Math.ceil(n / blocks[a])));
  if (layout.ops?.view?.kind !== "parts") return grid.reduce((a, b) => a * b, 1n);
  const { rows, columns } = matrixOf(layout.ops.view, shape);
  let last = 0n;
  for (let part = 0; part < inner[2] && part * inner[0] < rows; part++) {
    const weight = [Math.min(inner[0], rows - part * inner[0]) - 1, columns - 1, part];
    let number = 0n;
    for (const a of storedAxes(plane, 3)) {
      number = number * grid[a] + BigInt(Math.floor(weight[a] / blocks[a]));
    }
    if (number > last) last = number;
  }
  return last + 1n;
}

/** Bytes of a plane for a tensor of a shape. */
export function expectedBytes(layout, name, shape) {
  if (name === layout.ops?.gather?.index) return 4n * BigInt(shape.at(-1));
  const plane = layout.planes.get(name);
  return recordCount(layout, plane, shape) * BigInt(plane.bytes);
}

/** A plane's bytes with the words of each record together (D-25). */
function joinedWords(layout, name, bytes, shape) {
  const words = layout.ops?.words.get(name);
  if (!words) return bytes;
  const plane = layout.planes.get(name);
  const blocks = filled(plane.block, shape);
  const axis = storedAxes(plane, shape.length)[0];
  const first = Math.ceil(shape[axis] / blocks[axis]);
  const apart = bytes.length / plane.bytes / first;
  const size = plane.bytes / words;
  const joined = new Uint8Array(bytes.length);
  for (let i = 0, at = 0; i < first; i++) {
    for (let word = 0; word < words; word++) {
      for (let rest = 0; rest < apart; rest++, at += size) {
        const to = (i * apart + rest) * plane.bytes + word * size;
        joined.set(bytes.subarray(at, at + size), to);
      }
    }
  }
  return joined;
}

function startOf({ base, shape, strides }, run) {
  let start = base;
  for (let a = shape.length - 1; a >= 0; a--) {
    start += (run % shape[a]) * strides[a];
    run = Math.floor(run / shape[a]);
  }
  return start;
}

/** `bits` bits (at most 32) from bit `start` of a record on. */
function bitsAt(bytes, start, bits) {
  let value = 0;
  for (let have = 0; have < bits; ) {
    const at = start + have;
    const shift = at % 8;
    const width = Math.min(8 - shift, bits - have);
    value += ((bytes[Math.floor(at / 8)] >> shift) & ((1 << width) - 1)) * 2 ** have;
    have += width;
  }
  return value;
}

function joined(piece, record, run) {
  let code = 0;
  let low = 0;
  for (const slice of piece) {
    code += bitsAt(record, startOf(slice, run), slice.bits) * 2 ** low;
    low += slice.bits;
  }
  return code;
}

function codeOf({ element, pieces, codesPerRun }, record, number) {
  let piece = 0;
  while (number >= pieces[piece][0].runs * codesPerRun) {
    number -= pieces[piece++][0].runs * codesPerRun;
  }
  const runs = pieces[piece][0].runs;
  if (element.k !== "d") return joined(pieces[piece], record, number);
  const byte = joined(pieces[piece], record, number % runs);
  const power = element.base ** Math.floor(number / runs) % 256;
  return (((byte * power) % 256) * element.base) >> 8;
}

const SINGLE = new DataView(new ArrayBuffer(4));

function numberOf(element, code) {
  const { k, b, s, e, m, bias, sp } = element;
  if (k === "i") return code >= 2 ** (b - 1) ? code - 2 ** b : code;
  if (k !== "f") return code;
  if (element.bits === 32) {
    SINGLE.setUint32(0, code);
    return SINGLE.getFloat32(0);
  }
  const fraction = code % 2 ** m;
  const power = Math.floor(code / 2 ** m) % 2 ** e;
  const isNegative = s === 1 && code >= 2 ** (e + m);
  const isTop = power === 2 ** e - 1;
  if (sp === "e8m0") return isTop ? NaN : 2 ** (power - bias);
  if (sp === "fnuz" && isNegative && power === 0 && fraction === 0) return NaN;
  if (sp === "fn" && isTop && fraction === 2 ** m - 1) return NaN;
  if (sp === "ieee" && isTop && fraction > 0) return NaN;
  let size = power === 0 ? fraction * 2 ** (1 - bias - m) : (2 ** m + fraction) * 2 ** (power - bias - m);
  if (sp === "ieee" && isTop) size = Infinity;
  return isNegative ? -size : size;
}

const OPERATIONS = {
  add: (a, b) => a + b,
  sub: (a, b) => a - b,
  mul: (a, b) => a * b,
  div: (a, b) => a / b,
};

/** `within` says for each field which of the weights that share its code this one is (D-16). */
function evaluate(formula, codes, layout, within) {
  if (typeof formula === "string") {
    return numberOf(layout.fields.get(formula).element, codes.get(formula));
  }
  if (formula instanceof Float) return formula.number;
  const { operator, left, right } = formula;
  if (operator === "lut") {
    const table = layout.tables.get(left);
    const numbers = table.length / 2 ** layout.fields.get(right).element.b;
    return table[codes.get(right) * numbers + (numbers > 1 ? within.get(right) : 0)];
  }
  const a = evaluate(left, codes, layout, within);
  const b = evaluate(right, codes, layout, within);
  // Binary64 and one rounding after it give what binary32 would.
  return Math.fround(OPERATIONS[operator](a, b));
}

/** Where the codes of a field are in a tensor's records: extents and grid by axis. */
function placeOf(layout, field, shape) {
  const plane = layout.planes.get(field.plane);
  const blocks = filled(plane.block, shape);
  const overs = filled(field.over, shape);
  const grid = shape.map((n, a) => Math.ceil(n / blocks[a]));
  return { field, blocks, overs, grid, axes: storedAxes(plane, shape.length), plane };
}

/** From the number of a weight to its place in the inner shape. */
function viewed(layout, outer, shape) {
  if (layout.ops?.view?.kind !== "parts") {
    return (w, index) => {
      for (let a = shape.length - 1; a >= 0; a--) {
        index[a] = w % shape[a];
        w = Math.floor(w / shape[a]);
      }
    };
  }
  const { columns } = matrixOf(layout.ops.view, outer);
  return (w, index) => {
    const row = Math.floor(w / columns);
    index[0] = row % shape[0];
    index[1] = w % columns;
    index[2] = Math.floor(row / shape[0]);
  };
}

/** Every weight of a tensor, in C order. */
export function decode(layout, bytes, outer) {
  const shape = innerShape(layout, outer);
  const gather = layout.ops?.gather;
  const groups = gather && bytes.get(gather.index);
  const places = [...layout.fields].map(([name, field]) => {
    const data = joinedWords(layout, field.plane, bytes.get(field.plane), shape);
    const isGathered = gather?.planes.includes(field.plane) ?? false;
    return { name, data, isGathered, ...placeOf(layout, field, shape) };
  });
  const values = new Float32Array(outer.reduce((a, b) => a * b, 1));
  const own = shape.map(() => 0);
  const moved = shape.map(() => 0);
  const place = viewed(layout, outer, shape);
  const codes = new Map();
  const within = new Map();
  for (let w = 0; w < values.length; w++) {
    place(w, own);
    for (const { name, field, blocks, overs, grid, axes, plane, data, isGathered } of places) {
      let index = own;
      if (isGathered) {
        index = moved;
        for (let a = 0; a < shape.length; a++) moved[a] = own[a];
        // The first input of the group that the index names: all have the same code.
        moved[shape.length - 1] = int32(groups, own.at(-1)) * blocks.at(-1);
      }
      let record = 0;
      for (const a of axes) record = record * grid[a] + Math.floor(index[a] / blocks[a]);
      let number = 0;
      for (let a = 0; a < shape.length; a++) {
        number = number * (blocks[a] / overs[a]) + Math.floor((index[a] % blocks[a]) / overs[a]);
      }
      const start = record * plane.bytes;
      codes.set(name, codeOf(field, data.subarray(start, start + plane.bytes), number));
      within.set(name, index.at(-1) % overs.at(-1));
    }
    values[w] = evaluate(layout.formula, codes, layout, within);
  }
  return values;
}

const int32 = (bytes, i) => {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength).getInt32(4 * i, true);
};

function isOfNoWeight({ blocks, overs }, shape, at, number, rows) {
  const inside = blocks.map((block, a) => block / overs[a]);
  if (number >= inside.reduce((a, b) => a * b, 1)) return true;
  const first = [];
  for (let a = shape.length - 1; a >= 0; a--) {
    first[a] = at[a] * blocks[a] + (number % inside[a]) * overs[a];
    if (first[a] >= shape[a]) return true;
    number = Math.floor(number / inside[a]);
  }
  return rows !== null && first[2] * shape[0] + first[0] >= rows;
}

/** Refuse codes of no weight that are not 0 (D-22): beyond an edge, or digits to spare. */
function checkEdges(layout, field, bytes, shape, rows) {
  const place = placeOf(layout, field, shape);
  const { blocks, grid, axes, plane } = place;
  const codes = field.pieces.reduce((sum, piece) => sum + piece[0].runs, 0) * field.codesPerRun;
  const at = shape.map(() => 0);
  for (let start = 0; start < bytes.length; start += plane.bytes) {
    const record = bytes.subarray(start, start + plane.bytes);
    const isEdge =
      rows !== null || field.element.k === "d" || at.some((n, a) => (n + 1) * blocks[a] > shape[a]);
    for (let code = 0; isEdge && code < codes; code++) {
      if (isOfNoWeight(place, shape, at, code, rows) && codeOf(field, record, code) !== 0) {
        fail("E_CODE_EDGE", field.plane);
      }
    }
    for (let i = axes.length - 1; i >= 0 && ++at[axes[i]] === grid[axes[i]]; i--) at[axes[i]] = 0;
  }
}

/** Refuse an index that names a group which is not there (D-26). */
function checkIndex({ planes, ops }, bytes, shape) {
  const blocks = ops.gather.planes.map((name) => filled(planes.get(name).block, shape).at(-1));
  const groups = Math.min(...blocks.map((block) => Math.ceil(shape.at(-1) / block)));
  for (let i = 0; i < shape.at(-1); i++) {
    const group = int32(bytes, i);
    if (group < 0 || group >= groups) fail("E_CODE_INDEX", ops.gather.index);
  }
}

/** Refuse spare bits, then bytes that are no row of digits, then codes of no weight. */
export function checkCodes(layout, name, stored, outer) {
  if (name === layout.ops?.gather?.index) return checkIndex(layout, stored, outer);
  const shape = innerShape(layout, outer);
  const bytes = joinedWords(layout, name, stored, shape);
  const view = layout.ops?.view;
  const rows = view?.kind === "parts" ? matrixOf(view, outer).rows : null;
  const size = layout.planes.get(name).bytes;
  const fields = [...layout.fields.values()].filter((field) => field.plane === name);
  const spare = new Uint8Array(size).fill(255);
  for (const slice of fields.flatMap((field) => field.pieces.flat())) {
    for (let run = 0; run < slice.runs; run++) {
      const start = startOf(slice, run);
      for (let bit = start; bit < start + slice.bits; bit++) spare[bit >> 3] &= ~(1 << (bit & 7));
    }
  }
  if (spare.some((mask) => mask !== 0)) {
    for (let i = 0; i < bytes.length; i++) if (bytes[i] & spare[i % size]) fail("E_CODE_PAD", name);
  }
  for (const { element, pieces } of fields.filter((field) => field.element.k === "d")) {
    const whole = element.base ** element.n;
    const allowed = new Set();
    for (let v = 0; v < whole; v++) allowed.add(Math.ceil((256 * v) / whole));
    for (let start = 0; start < bytes.length; start += size) {
      const record = bytes.subarray(start, start + size);
      for (const [slice] of pieces) {
        for (let run = 0; run < slice.runs; run++) {
          const byte = bitsAt(record, startOf(slice, run), 8);
          if (!allowed.has(byte)) fail("E_CODE_DIGIT", name);
        }
      }
    }
  }
  for (const field of fields) checkEdges(layout, field, bytes, shape, rows);
}
