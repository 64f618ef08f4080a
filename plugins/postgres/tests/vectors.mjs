// Shows to Node's own adapter what goes through Postgres, over a pool that is none: one line of JSON
// in, one line with what came of it out.
//
// usage: node vectors.mjs FOLDER-WITH-node_modules PACKAGE
//
//   {payload, row}      the message that a receiver sees in this notification, and in the row that
//                       it names (base64), if there is one

import { createRequire } from "node:module";
import { createInterface } from "node:readline";
import { join, resolve } from "node:path";
import { tree } from "../../sdk/tests/support/tree.mjs";

const [folder, name] = process.argv.slice(2);
const modules = join(resolve(folder), "node_modules");
const require = createRequire(join(modules, name, "package.json"));
const { createAdapter } = require(join(modules, name));

let notify;
let row;
let seen;

const pool = {
  connect: async () => ({ on: (event, listener) => event === "notification" && (notify = listener), query: async () => {} }),
  query: async () => ({ rows: [{ payload: row, id: "1" }] }),
};

const adapters = new Map();
const create = createAdapter(pool, { errorHandler: (error) => (seen = { error: error.message }) });

/** Every namespace that is asked for is served. */
function serve(nsp) {
  if (nsp === undefined || adapters.has(nsp)) return;
  const adapter = create({ name: nsp, sockets: new Map(), server: { encoder: {}, opts: {} } });
  adapter.onMessage = (message) => (seen = tree(message));
  adapters.set(nsp, adapter);
}

serve("/");
// Let it listen.
await new Promise((done) => setTimeout(done, 10));

for await (const line of createInterface({ input: process.stdin })) {
  const { payload, nsp, row: bytes } = JSON.parse(line);
  serve(nsp);
  seen = null;
  row = bytes && Buffer.from(bytes, "base64");
  // The version 0.4 goes by the channel.
  await notify({ channel: `socket.io#${nsp}`, payload });
  console.log(JSON.stringify(seen ?? null));
}
// Not before all of it is written: a pipe takes some kilobytes at once.
process.stdout.write("", () => process.exit(0));
