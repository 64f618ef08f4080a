// A process that only sends to a cluster: the official emitters, driven by JSON lines (`console.mjs`).
//
//   $ node emitter.mjs --kind redis --url redis://127.0.0.1:6379
//   READY
//   {"id":1,"op":"emit","select":{"nsp":"/","rooms":["a"]},"event":"hello","args":[1]}
//   {"id":1,"ok":null}
//
// A command is answered when the backend has taken what it sent.

import { check, takeCommands } from "./console.mjs";
import { readOptions } from "./options.mjs";
import { connectRedis } from "./server/redis.mjs";
import { unpack } from "./values.mjs";

const KINDS = ["redis", "redis-ioredis", "postgres"];
const USAGE = `usage: node emitter.mjs --kind ${KINDS.join("|")} --url URL[,URL…] [--cluster] [--sentinel MASTER]
                        [--options JSON] [--client-options JSON]`;

const args = readOptions(USAGE, {
  kind: KINDS,
  url: undefined,
  cluster: false,
  sentinel: undefined,
  options: {},
  "client-options": {},
});
const report = (error) => process.stderr.write(`${error?.message ?? error}\n`);

/** What the emitters leave running: they wait for nothing and lose errors. */
const sending = new Set();

/** Remembers what a method of the backend's client returns. */
function tracked(client, method) {
  return {
    [method](...args) {
      const sent = Promise.resolve(client[method](...args));
      sending.add(sent);
      return sent;
    },
  };
}

/** Waits for all that was sent, also for what follows from it. */
async function sent() {
  while (sending.size > 0) {
    const [first] = sending;
    try {
      await first;
    } finally {
      sending.delete(first);
    }
    // An attachment's notification is sent when its row is stored.
    await new Promise((resolve) => setImmediate(resolve));
  }
}

async function connect() {
  if (args.url === undefined) throw new Error(`--url is missing\n${USAGE}`);
  const { options } = args;
  if (args.kind === "postgres") {
    const { default: pg } = await import("pg");
    const { Emitter } = await import("@socket.io/postgres-emitter");
    const pool = new pg.Pool({ connectionString: args.url, ...args["client-options"] });
    pool.on("error", report);
    const client = tracked(pool, "query");
    return (nsp) => new Emitter(client, nsp, options);
  }
  const { Emitter } = await import("@socket.io/redis-emitter");
  const redis = await connectRedis({
    ...args,
    library: args.kind === "redis" ? "redis" : "ioredis",
    urls: args.url.split(","),
    name: `emitter-${process.pid}`,
    options: args["client-options"],
    report,
  });
  const client = tracked(redis, "publish");
  return (nsp) => new Emitter(client, options, nsp);
}

const emitter = await connect();

/** `emitter.to(…).except(…)`. */
function operators(select = {}) {
  check("select", select, [], ["nsp", "rooms", "except", "volatile", "local", "from", "timeout_ms", "board"]);
  for (const field of ["local", "from", "timeout_ms", "board"]) {
    if (select[field]) throw new Error(`an emitter cannot be told \`${field}\``);
  }
  let operators = emitter(select.nsp ?? "/");
  if (select.rooms?.length) operators = operators.to(select.rooms);
  if (select.except?.length) operators = operators.except(select.except);
  if (select.volatile) operators = operators.volatile;
  return operators;
}

/** A command that sends something. */
const sends = (fields, send, optional) => ({
  fields,
  optional,
  async run(command) {
    send(command);
    await sent();
  },
});

process.on("unhandledRejection", (error) => report(`not handled: ${error?.stack ?? error}`));
const commands = {
  emit: sends(["select", "event", "args"], ({ select, event, args }) =>
    operators(select).emit(event, ...args.map(unpack)),
  ),
  join: sends(["select", "rooms"], ({ select, rooms }) => operators(select).socketsJoin(rooms)),
  leave: sends(["select", "rooms"], ({ select, rooms }) => operators(select).socketsLeave(rooms)),
  disconnect: sends(
    ["select"],
    ({ select, close }) => operators(select).disconnectSockets(close ?? false),
    ["close"],
  ),
  server_side_emit: sends(["nsp", "event", "args"], ({ nsp, event, args }) =>
    emitter(nsp).serverSideEmit(event, ...args.map(unpack)),
  ),
};
takeCommands(commands, () => process.exit(0));
process.stdout.write("READY\n");
