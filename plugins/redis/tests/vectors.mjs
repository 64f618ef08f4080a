// Reads payloads with Node's own decoders: one base64 line in, one line with the JSON of what the
// receiver sees out. `{` begins JSON, all else is msgpack, as in @socket.io/redis-adapter.
//
// usage: node vectors.mjs FOLDER-WITH-node_modules
// The decoders are those that the adapters installed there use.

import { createRequire } from "node:module";
import { createInterface } from "node:readline";
import { join, resolve } from "node:path";
import { tree } from "../../sdk/tests/support/tree.mjs";

const adapters = join(resolve(process.argv[2]), "node_modules", "@socket.io");
const ofAdapter = (adapter, name) => createRequire(join(adapters, adapter, "package.json"))(name);
const notepack = ofAdapter("redis-adapter", "notepack.io");
const msgpack = ofAdapter("redis-streams-adapter", "@msgpack/msgpack");

function attempt(read) {
  try {
    return { value: tree(read()) };
  } catch (error) {
    return { error: String(error) };
  }
}

for await (const line of createInterface({ input: process.stdin })) {
  const payload = Buffer.from(line, "base64");
  const isJson = payload[0] === 0x7b;
  const adapter = attempt(() => (isJson ? JSON.parse(payload.toString()) : notepack.decode(payload)));
  // The other library of Node's adapters must read the same.
  const other = isJson ? adapter : attempt(() => msgpack.decode(payload));
  console.log(JSON.stringify({ isJson, adapter, other }));
}
