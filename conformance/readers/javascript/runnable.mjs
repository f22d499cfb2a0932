// Stage S7 (chapter 8): whether a sound file holds a model that can be run.

import { readFileSync } from "node:fs";
import { Float, refuse as fail } from "./mp1.mjs";
import { parseJson } from "./json.mjs";

const TOKENIZER_KINDS = new Set();
const FAMILIES = readFamilies(
  readFileSync(new URL("../../../spec/arch/families.txt", import.meta.url), "utf-8"),
);

function readFamilies(text) {
  const families = new Map();
  let family;
  for (const [word, ...rest] of text.trim().split("\n").map((line) => line.split(" "))) {
    if (word === "tokenizer") TOKENIZER_KINDS.add(rest[0]);
    else if (word === "family") {
      family = { fields: new Map(), laws: [], tensors: [] };
      families.set(rest[0], family);
    } else if (word === "law") family.laws.push(rest);
    else if (word === "tensor") {
      const [name, shape, ...conditions] = rest;
      const condition = (key) => conditions[conditions.indexOf(key) + 1];
      family.tensors.push({
        name,
        shape: shape.split(","),
        unless: conditions.includes("unless") ? condition("unless") : null,
        onlyIf: conditions.includes("if") ? condition("if") : null,
      });
    } else {
      const [name, ...values] = rest;
      family.fields.set(name, { kind: word.replace("?", ""), values, optional: word.endsWith("?") });
    }
  }
  return families;
}

function isLawful({ kind, values }, value) {
  if (kind === "count") return typeof value === "number" && value >= 1 && value <= Number(values[0]);
  if (kind === "number") return value instanceof Float && value.number > 0;
  if (kind === "flag") return typeof value === "boolean";
  return typeof value === "string" && values.includes(value);
}

/** The fields that a `when` law asks for are there, and none that another value would need. */
function holdsWhen(laws, key, fields) {
  const lines = laws.filter(([law, other]) => law === "when" && other === key);
  const needed = lines.find(([, , value]) => value === fields.get(key))?.slice(3) ?? [];
  const known = new Set(lines.flatMap((line) => line.slice(3)));
  const found = [...known].filter((name) => fields.has(name));
  return found.length === needed.length && needed.every((name) => fields.has(name));
}

function holds(law, a, b, c, fields, laws) {
  const [x, y, z] = [a, b, c].map((name) => fields.get(name));
  if (law === "when") return holdsWhen(laws, a, fields);
  if (law === "beside") return x === undefined || y !== undefined;
  if (law === "even") return x === undefined || x % 2 === 0;
  if (law === "product") return y === undefined || z === undefined || y * z <= Number(a);
  if (x === undefined || y === undefined) return true;
  if (law === "multiple") return x % y === 0;
  return law === "most" ? x <= y : x < y;
}

function checkFields(family, fields) {
  for (const name of fields.keys()) {
    if (!family.fields.has(name)) fail("E_ARCH_FIELD", `no field ${name}`);
  }
  for (const [name, field] of family.fields) {
    if (!fields.has(name) && !field.optional) fail("E_ARCH_FIELD", `no ${name}`);
    if (fields.has(name) && !isLawful(field, fields.get(name))) fail("E_ARCH_FIELD", name);
  }
  for (const [law, a, b, c] of family.laws) {
    if (!holds(law, a, b, c, fields, family.laws)) fail("E_ARCH_FIELD", `${law} ${a} ${b}`);
  }
}

/** `a*b+2*c` or `a/2` with the fields' values. */
function extent(formula, fields) {
  const [sum, divisor] = formula.split("/");
  const factor = (name) => (/^[0-9]+$/.test(name) ? Number(name) : fields.get(name));
  const product = (term) => term.split("*").reduce((n, name) => n * factor(name), 1);
  const total = sum.split("+").reduce((n, term) => n + product(term), 0);
  return divisor ? Math.floor(total / Number(divisor)) : total;
}

const isSet = (fields, name) => fields.has(name) && fields.get(name) !== false;

function checkTensors(family, fields, tensors, aliases) {
  const found = new Map([...tensors].map(([name, { shape }]) => [name, shape]));
  for (const [name, of] of aliases) {
    const isTied = fields.get("tied_embeddings") === true;
    if (isTied && name === "output.weight" && of === "token_embd.weight") continue;
    found.set(name, tensors.get(of).shape);
  }
  let expected = 0;
  for (const { name, shape, unless, onlyIf } of family.tensors) {
    if ((unless && isSet(fields, unless)) || (onlyIf && !isSet(fields, onlyIf))) continue;
    const wanted = shape.map((formula) => extent(formula, fields));
    const copies = name.includes("{layer}") ? fields.get("layers") : 1;
    for (let layer = 0; layer < copies; layer++) {
      const stored = found.get(name.replace("{layer}", layer));
      const isSame = stored?.length === wanted.length && wanted.every((n, a) => n === stored[a]);
      if (!isSame) fail("E_ARCH_TENSOR", name);
      expected++;
    }
  }
  if (expected !== found.size) fail("E_ARCH_TENSOR", `${found.size} tensors, not ${expected}`);
}

/** Every token id of a `tokenizer.json`. */
function tokenIds(text) {
  const added = text instanceof Map && text.has("added_tokens") ? text.get("added_tokens") : [];
  const model = text instanceof Map ? text.get("model") : null;
  const vocabulary = model instanceof Map ? model.get("vocab") : null;
  const isList = Array.isArray(vocabulary);
  if (!isList && !(vocabulary instanceof Map)) fail("E_TOKENIZER", "no vocabulary");
  if (!Array.isArray(added)) fail("E_TOKENIZER", "added tokens");
  const ids = isList ? [...vocabulary.keys()] : [...vocabulary.values()];
  for (const token of added) ids.push(token instanceof Map ? token.get("id") : null);
  if (ids.some((id) => typeof id !== "number")) fail("E_TOKENIZER", "an id is no integer");
  return ids;
}

/** S7, in order: documents, architecture, tokenizer. */
export function checkRunnable({ header, documents, media, tensors, aliases }) {
  for (const [name, text] of documents) {
    if (media.get(name).split(";")[0] === "application/json") parseJson(text);
  }
  const arch = header.get("core").get("arch");
  const tokenizer = header.get("core").get("tokenizer");
  if (arch !== undefined) {
    const family = FAMILIES.get(arch.get("family"));
    if (family === undefined) fail("E_ARCH_FAMILY", arch.get("family"));
    checkFields(family, arch.get("fields"));
    checkTensors(family, arch.get("fields"), tensors, aliases);
  }
  if (tokenizer === undefined) return;
  if (!TOKENIZER_KINDS.has(tokenizer.get("kind"))) fail("E_TOKENIZER_KIND", "unknown kind");
  const ids = tokenIds(parseJson(documents.get(tokenizer.get("doc"))));
  ids.push(...tokenizer.get("eos"));
  if (tokenizer.has("bos")) ids.push(tokenizer.get("bos"));
  const vocabulary = arch?.get("fields").get("vocabulary") ?? Infinity;
  if (ids.some((id) => id >= vocabulary)) fail("E_TOKENIZER_ID", "an id beyond the vocabulary");
}
