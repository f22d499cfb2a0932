// JSON with one meaning (chapter 8, J-1 to J-5). Objects are `Map`s, integers that may be token ids
// are numbers, all other numbers null.

import { refuse as fail } from "./mp1.mjs";

const MOST_DEPTH = 64;
const UTF8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
const MARKS = /"[^"\\]*(?:\\(?:[^]|$)[^"\\]*)*(?:"|$)|[[{]|[\]}]/g;
const NUMBER = /-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?/y;
const CHARACTERS = /(?:[^"\\\u0000-\u001f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*"/y;
const SPACE = /[ \t\n\r]*/y;
const LONE = /[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/;

function checkDepth(text) {
  let depth = 0;
  for (const [mark] of text.matchAll(MARKS)) {
    if (mark === "[" || mark === "{") depth++;
    else if (mark === "]" || mark === "}") depth = Math.max(depth - 1, 0);
    if (depth > MOST_DEPTH) fail("E_JSON_DEPTH", "nested too deep");
  }
}

class Parser {
  constructor(text) {
    this.text = text;
    this.at = 0;
    this.hasHalf = false;
    this.hasTwice = false;
  }

  match(pattern) {
    pattern.lastIndex = this.at;
    const found = pattern.exec(this.text);
    if (found === null) fail("E_JSON_SYNTAX", `character ${this.at}`);
    this.at += found[0].length;
    return found[0];
  }

  /** Take a character if it is the next one behind space. */
  next(character) {
    this.match(SPACE);
    if (this.text[this.at] !== character) return false;
    this.at++;
    return true;
  }

  need(character) {
    if (!this.next(character)) fail("E_JSON_SYNTAX", `character ${this.at}, not ${character}`);
  }

  value() {
    if (this.next("{")) return this.object();
    if (this.next("[")) return this.array();
    if (this.next('"')) return this.string();
    for (const [word, value] of [["true", true], ["false", false], ["null", null]]) {
      if (this.text.startsWith(word, this.at)) {
        this.at += word.length;
        return value;
      }
    }
    const number = this.match(NUMBER);
    return /^[0-9]+$/.test(number) ? Number(number) : null;
  }

  string() {
    const inside = this.match(CHARACTERS);
    const found = JSON.parse(`"${inside}`);
    this.hasHalf ||= LONE.test(found);
    return found;
  }

  array() {
    const items = [];
    if (this.next("]")) return items;
    do items.push(this.value());
    while (this.next(","));
    this.need("]");
    return items;
  }

  object() {
    const entries = new Map();
    if (this.next("}")) return entries;
    do {
      this.need('"');
      const key = this.string();
      this.need(":");
      this.hasTwice ||= entries.has(key);
      entries.set(key, this.value());
    } while (this.next(","));
    this.need("}");
    return entries;
  }
}

/** The value of a JSON text; throws with the code of the first rule broken. */
export function parseJson(bytes) {
  let text;
  try {
    text = UTF8.decode(bytes);
  } catch {
    fail("E_JSON_UTF8", "not UTF-8");
  }
  if (text.startsWith("\ufeff")) fail("E_JSON_UTF8", "byte order mark");
  checkDepth(text);
  const parser = new Parser(text);
  const value = parser.value();
  parser.match(SPACE);
  if (parser.at < text.length) fail("E_JSON_SYNTAX", `character ${parser.at}`);
  if (parser.hasHalf) fail("E_JSON_ESCAPE", "half of a surrogate pair");
  if (parser.hasTwice) fail("E_JSON_DUP", "a key stands twice");
  return value;
}
