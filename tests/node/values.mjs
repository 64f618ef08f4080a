// Event arguments as JSON: a binary part is written {"$bytes":"0aff"}, hexadecimal, as in
// `kit/src/value.rs`. What JSON cannot say (undefined) becomes null.

const BYTES_KEY = "$bytes";

/** The bytes of anything that holds bytes, else undefined. */
export function asBuffer(value) {
  if (value instanceof ArrayBuffer) return Buffer.from(value);
  if (ArrayBuffer.isView(value)) return Buffer.from(value.buffer, value.byteOffset, value.byteLength);
  return undefined;
}

/** A value as JSON. */
export function pack(value) {
  const data = asBuffer(value);
  if (data) return { [BYTES_KEY]: data.toString("hex") };
  if (Array.isArray(value)) return value.map(pack);
  if (value !== null && typeof value === "object") {
    return Object.fromEntries(Object.entries(value).map(([key, part]) => [key, pack(part)]));
  }
  return value ?? null;
}

/** The reverse of `pack`. */
export function unpack(value) {
  if (Array.isArray(value)) return value.map(unpack);
  if (value !== null && typeof value === "object") {
    const keys = Object.keys(value);
    if (keys.length === 1 && keys[0] === BYTES_KEY) return readHex(value[BYTES_KEY]);
    return Object.fromEntries(Object.entries(value).map(([key, part]) => [key, unpack(part)]));
  }
  return value;
}

function readHex(hex) {
  // Buffer.from stops at the first wrong digit and says nothing.
  if (typeof hex !== "string" || !/^([0-9a-f]{2})*$/i.test(hex)) {
    throw new Error(`\`${BYTES_KEY}\` takes pairs of hexadecimal digits, not ${JSON.stringify(hex)}`);
  }
  return Buffer.from(hex, "hex");
}
