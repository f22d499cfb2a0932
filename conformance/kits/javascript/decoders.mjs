// Q4_0, Q8_0 and MXFP4 of ggml to Float32Array, in plain JavaScript: it runs in a browser as in Node.
const DOUBLED = [0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12];

function half(low, high) {
  const exponent = (high >> 2) & 31;
  const rest = ((high & 3) << 8) | low;
  const size = exponent === 31
    ? (rest ? NaN : Infinity)
    : (exponent ? rest + 1024 : rest) * 2 ** ((exponent || 1) - 25);
  return high & 128 ? -size : size;
}

// `one(at, index)` puts the weights of the block that begins at byte `at` behind `index`.
function blocks(bytes, size, one) {
  const values = new Float32Array((bytes.length / size) * 32);
  for (let at = 0, index = 0; at < bytes.length; at += size, index += 32) one(values, at, index);
  return values;
}

export function decodeQ4_0(bytes) {
  return blocks(bytes, 18, (values, at, index) => {
    const scale = half(bytes[at], bytes[at + 1]);
    for (let i = 0; i < 16; i++) {
      values[index + i] = scale * ((bytes[at + 2 + i] & 15) - 8);
      values[index + 16 + i] = scale * ((bytes[at + 2 + i] >> 4) - 8);
    }
  });
}

export function decodeQ8_0(bytes) {
  return blocks(bytes, 34, (values, at, index) => {
    const scale = half(bytes[at], bytes[at + 1]);
    for (let i = 0; i < 32; i++) values[index + i] = scale * ((bytes[at + 2 + i] << 24) >> 24);
  });
}

export function decodeMXFP4(bytes) {
  return blocks(bytes, 17, (values, at, index) => {
    const scale = 2 ** (bytes[at] - 128);
    for (let i = 0; i < 16; i++) {
      values[index + i] = scale * DOUBLED[bytes[at + 1 + i] & 15];
      values[index + 16 + i] = scale * DOUBLED[bytes[at + 1 + i] >> 4];
    }
  });
}
