// The line protocol of conformance/SPEC.md for Node 20, without dependencies.
//
// An engine is a function of { op, params, inputs, outputs, shapes } that returns its outputs by name,
// each a typed array or a DataView, or a promise of them; inputs are Uint8Array by name, shapes their
// types and shapes. It throws Unsupported for what it does not
// know, and Rejected with a rule's code for input that breaks a rule.
import { closeSync, openSync, readSync, writeFileSync } from "node:fs";
import { createInterface } from "node:readline";

export class Unsupported extends Error {}

export class Rejected extends Error {}

function read({ path, off, len }) {
  const bytes = new Uint8Array(len);
  const file = openSync(path, "r");
  try {
    for (let at = 0, got; at < len; at += got) {
      got = readSync(file, bytes, at, len - at, off + at);
      if (got === 0) throw new Error(`${path} ends early`);
    }
  } finally {
    closeSync(file);
  }
  return bytes;
}

function write(path, array) {
  writeFileSync(path, new Uint8Array(array.buffer, array.byteOffset, array.byteLength));
}

async function answer(message, run) {
  if (message.cmd !== "run") return { outcome: "unsupported" };
  try {
    const inputs = Object.fromEntries(message.in.map((one) => [one.name, read(one)]));
    const outputs = Object.fromEntries(message.out.map((one) => [one.name, one]));
    const shapes = Object.fromEntries(message.in.map((one) => [one.name, one]));
    const task = { op: message.op, params: message.params, inputs, outputs, shapes };
    const written = await run(task);
    for (const one of message.out) write(one.path, written[one.name]);
  } catch (error) {
    if (error instanceof Unsupported) return { outcome: "unsupported" };
    if (error instanceof Rejected) return { outcome: "rejected", code: error.message };
    return { outcome: "error", detail: String(error) };
  }
  return { outcome: "ok" };
}

/** `engine` is a name, or an object of name, version and language. */
export async function serve(engine, features, run) {
  const known = typeof engine === "string" ? { name: engine, language: "JavaScript" } : engine;
  for await (const line of createInterface({ input: process.stdin })) {
    const message = JSON.parse(line);
    if (message.cmd === "bye") break;
    const said =
      message.cmd === "hello"
        ? { engine: known, features }
        : { seq: message.seq, ...(await answer(message, run)) };
    process.stdout.write(`@rq ${JSON.stringify(said)}\n`);
  }
  process.exitCode = 0;
  process.stdin.destroy();
}
