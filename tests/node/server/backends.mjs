// The adapters, each over its backend, made as its documentation says. A backend is:
//
//   createAdapter   for `new Server({ adapter })`; undefined: Socket.IO's own, which knows no others
//   ready(adapters) ends when these, by their namespaces, hear what others send
//   settle()        ends when a room that was joined before is known to the backend, where that is
//                   necessary and possible; after a moment it ends in any case
//   flush()         ends when the backend has taken everything that was sent before
//   delayed         joins, leaves and disconnections take place, also for the own sockets, when the
//                   backend has taken them

import { connectRedis, subscribers, waitingReads } from "./redis.mjs";

/** The names for `--adapter`. */
export const ADAPTERS = [
  "none",
  "redis",
  "redis-ioredis",
  "sharded",
  "sharded-ioredis",
  "streams",
  "streams-ioredis",
  "postgres",
  "postgres-0.4",
];

/** The packages of those over Postgres. */
const POSTGRES = { postgres: "@socket.io/postgres-adapter", "postgres-0.4": "postgres-adapter-0.4" };

/** A backend that does not hear us within this time is a failed start. */
const READY_LIMIT_MS = 20_000;
/** A client's connection is not held up longer than this by a backend that is away. */
const SETTLE_LIMIT_MS = 1_000;
const LOOK_EVERY_MS = 10;

/** Connects what `--adapter` names. `report` gets errors that nobody waits for. */
export async function connectBackend({ adapter, report, ...how }) {
  if (adapter === "none") return none();
  if (how.url === undefined) throw new Error(`--adapter ${adapter} needs --url`);
  // Distinguishes our connections from those of others where that is the only way to see that they
  // listen.
  const name = `${how.name.replace(/[^\w-]/g, "-")}-${process.pid}`;
  const report_ = (error) => report(`${adapter}: ${error?.message ?? error}`);
  if (adapter in POSTGRES) return await postgres({ ...how, package: POSTGRES[adapter], name, report: report_ });
  const [kind, library = "redis"] = adapter.split("-");
  return await redis({ ...how, kind, library, name, report: report_ });
}

function none() {
  const nothing = async () => {};
  return { createAdapter: undefined, delayed: false, ready: nothing, settle: nothing, flush: nothing };
}

async function redis({ kind, library, url, cluster, sentinel, name, options, clientOptions, report }) {
  const urls = url.split(",");
  const connect = () =>
    connectRedis({ library, urls, cluster, sentinel, name, options: clientOptions, report });
  const pub = await connect();
  const sub = kind === "streams" ? undefined : await connect();
  const createAdapter = await redisAdapter(kind, pub, sub, options);

  // On the same connection as what was sent before; the nodes of a Redis Cluster have one each.
  const ping = async (client) => {
    if (client && !cluster) await client.ping();
  };
  return {
    createAdapter,
    delayed: true,
    async ready(adapters) {
      // A node of a Redis Cluster knows its own subscribers only.
      const own = cluster ? urls : [];
      const watchers = await Promise.all(
        own.map((url) => connectRedis({ library, urls: [url], name: "watcher", options: {}, report })),
      );
      await redisHears({ kind, servers: cluster ? watchers : [pub], name, options, adapters });
      for (const watcher of watchers) (watcher.destroy ?? watcher.disconnect).call(watcher);
    },
    settle: () => Promise.race([ping(sub).catch(report), pause(SETTLE_LIMIT_MS)]),
    flush: () => ping(pub),
  };
}

async function redisAdapter(kind, pub, sub, options) {
  if (kind === "streams") {
    const { createAdapter } = await import("@socket.io/redis-streams-adapter");
    return createAdapter(pub, options);
  }
  const { createAdapter, createShardedAdapter } = await import("@socket.io/redis-adapter");
  return (kind === "sharded" ? createShardedAdapter : createAdapter)(pub, sub, options);
}

/** Waits for the channel that an adapter subscribes to alone, and last. */
async function redisHears({ kind, servers, name, options, adapters }) {
  const prefix = (kind === "redis" ? options.key : options.channelPrefix) ?? "socket.io";
  const middle = kind === "redis" ? "-response" : "";
  const sharded = kind === "sharded" || options.useShardedPubSub === true;
  for (const [nsp, { uid }] of adapters) {
    const channel = `${prefix}${middle}#${nsp}#${uid}#`;
    await until(`somebody to subscribe to ${channel}`, async () => (await subscribers(servers, channel, sharded)) > 0);
  }
  if (kind === "streams") {
    const streams = options.streamCount ?? 1;
    await until("the adapter to read", async () => (await waitingReads(servers, name)) >= streams);
  }
}

async function postgres({ url, package: adapter, name, options, clientOptions, report }) {
  const { default: pg } = await import("pg");
  const { createAdapter } = await import(adapter);
  const pool = new pg.Pool({ connectionString: url, application_name: name, ...clientOptions });
  pool.on("error", report);
  // Without this the loss of the adapter's connection ends the process.
  pool.on("connect", (client) => client.on("error", report));
  await createTable(pool, options.tableName ?? "socket_io_attachments");
  const prefix = options.channelPrefix ?? "socket.io";
  return {
    createAdapter: createAdapter(pool, { errorHandler: report, ...options }),
    delayed: true,
    ready: (adapters) =>
      until("the adapter to listen", async () => {
        const last = `LISTEN "${prefix}#${[...adapters.keys()].at(-1)}"`;
        const { rows } = await pool.query(
          "SELECT 1 FROM pg_stat_activity WHERE application_name = $1 AND state = 'idle' AND query = $2",
          [name, last],
        );
        return rows.length > 0;
      }),
    settle: async () => {},
    // All connections but the one that listens.
    flush: () =>
      until("Postgres to take everything", () => pool.waitingCount === 0 && pool.totalCount - pool.idleCount <= 1),
  };
}

/** The application creates it, not the adapter. Several servers may do so at the same time. */
async function createTable(pool, table) {
  const already = ["23505", "42P07"];
  try {
    await pool.query(
      `CREATE TABLE IF NOT EXISTS ${table} (
        id bigserial UNIQUE, created_at timestamptz DEFAULT now(), payload bytea)`,
    );
  } catch (error) {
    if (!already.includes(error.code)) throw error;
  }
}

export const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** Looks until the condition holds. */
export async function until(what, isMet, limitMs = READY_LIMIT_MS) {
  const giveUp = Date.now() + limitMs;
  while (!(await isMet())) {
    if (Date.now() > giveUp) throw new Error(`waited ${limitMs} ms in vain for ${what}`);
    await pause(LOOK_EVERY_MS);
  }
}
