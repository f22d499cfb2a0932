// An engine in JavaScript: node example.mjs
import { decodeMXFP4, decodeQ4_0, decodeQ8_0 } from "./decoders.mjs";
import { Unsupported, serve } from "./rq_adapter.mjs";

const formats = { "ggml/q4_0": decodeQ4_0, "ggml/q8_0": decodeQ8_0, "ggml/mxfp4": decodeMXFP4 };

await serve(
  "example-javascript",
  ["decode.ggml-q4_0", "decode.ggml-q8_0", "decode.ggml-mxfp4"],
  ({ op, params, inputs }) => {
    const decode = formats[params.scheme];
    if (op !== "decode" || !decode) throw new Unsupported();
    return { values: decode(inputs.blocks) };
  },
);
