// A value as a receiver in Node.js sees it, in a form that JSON keeps.
export function tree(value) {
  if (Buffer.isBuffer(value) || value instanceof Uint8Array) {
    return { $bin: Buffer.from(value).toString("base64") };
  }
  if (value instanceof Date) return value.toJSON();
  if (Array.isArray(value)) return value.map((element) => (element === undefined ? null : tree(element)));
  if (value !== null && typeof value === "object") {
    return Object.fromEntries(Object.entries(value).map(([key, member]) => [key, tree(member)]));
  }
  return value;
}
