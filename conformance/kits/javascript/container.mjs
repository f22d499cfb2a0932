// Another engine in JavaScript, of files instead of blocks: the reader of `.rq` in ../../readers.
//
//     refquant conformance run 'container/*' --engine 'node conformance/kits/javascript/container.mjs'
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";

import { report } from "../../readers/javascript/rq.mjs";
import { Rejected, serve } from "./rq_adapter.mjs";

const digests = (texts) => Buffer.from(texts.join(""), "hex");

await serve("rq.mjs", ["container.raw", "container.zstd", "container.operators"], ({ params }) => {
  const { code, tensors, documents } = report(readFileSync(params.file));
  if (code) throw new Rejected(code);
  const named = [
    ...tensors.map(([name, { shape }]) => `${name}\t${shape.join("x")}\n`),
    ...documents.map(([name]) => `${name}\n`),
  ];
  return {
    tensors: digests(tensors.map(([, tensor]) => tensor.sha256)),
    documents: digests(documents.map(([, sha256]) => sha256)),
    names: createHash("sha256").update(named.join("")).digest(),
  };
});
