// Shows to Node's own adapter what stands in Redis, over a client that is none: one line of JSON in,
// one line with what came of it out.
//
// usage: node vectors.mjs FOLDER-WITH-node_modules
//
//   {fields}                            the message that a receiver sees in this entry
//   {payload}                           the same, of bytes (base64) that came over Pub/Sub
//   {session}                           what is kept of a session: key, value, time to live
//   {pid, offset, kept, entries}        the session that is restored, with its missed packets

import { createRequire } from "node:module";
import { createInterface } from "node:readline";
import { join, resolve } from "node:path";
import { tree } from "../../sdk/tests/support/tree.mjs";

const adapters = join(resolve(process.argv[2]), "node_modules", "@socket.io");
const require = createRequire(join(adapters, "redis-streams-adapter", "package.json"));
const { createAdapter } = require("@socket.io/redis-streams-adapter");

let toSubscriber;
let kept;
let stored;
let stream = [];

// The adapter knows the client of the package `redis` by this method.
const client = {
  sSubscribe() {},
  on() {},
  duplicate: () => client,
  connect: async () => {},
  disconnect() {},
  xRead: () => new Promise(() => {}),
  subscribe: (_channels, listener) => (toSubscriber = listener),
  set: (key, value, options) => (stored = { key, value, ttlMs: options.PX }),
  multi: () => {
    const steps = { get: () => steps, del: () => steps, exec: async () => [kept, 1] };
    return steps;
  },
  xRange: async (_stream, start, end) => {
    const place = (id) => id.split("-").map(Number);
    const isAfter = ([a, b], [c, d]) => a > c || (a === c && b >= d);
    return stream
      .filter(([id]) => isAfter(place(id), place(start)) && (end === "+" || isAfter(place(end), place(id))))
      .map(([id, fields]) => ({ id, message: Object.fromEntries(fields) }));
  },
};

const ttlMs = 45000;
const namespace = {
  name: "/",
  sockets: new Map(),
  server: { encoder: {}, opts: { connectionStateRecovery: { maxDisconnectionDuration: ttlMs } } },
};
const adapter = createAdapter(client, {})(namespace);
// Let it subscribe.
await new Promise((done) => setTimeout(done, 10));

let seen;
adapter.onMessage = (message) => (seen = tree(message));

async function answer(line) {
  seen = null;
  if (line.fields) {
    adapter.onRawMessage(Object.fromEntries(line.fields), "1-0");
    return seen;
  }
  if (line.payload !== undefined) {
    toSubscriber(Buffer.from(line.payload, "base64"));
    return seen;
  }
  if (line.session) {
    adapter.persistSession(Object.fromEntries(line.session));
    return stored;
  }
  kept = line.kept;
  stream = line.entries;
  return adapter.restoreSession(line.pid, line.offset).then(tree, () => null);
}

for await (const line of createInterface({ input: process.stdin })) {
  console.log(JSON.stringify((await answer(JSON.parse(line))) ?? null));
}
// Not before all of it is written: a pipe takes some kilobytes at once.
process.stdout.write("", () => process.exit(0));
