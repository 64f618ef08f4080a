// Redis clients as the documentation of the adapters makes them: with the package `redis` or with
// `ioredis`, to one server, to a Redis Cluster, or through Sentinels. Only the one that is wanted is
// loaded: that takes a good part of a server's start.

/** `host:port` of a `redis://` address. */
function place(url) {
  const { hostname, port } = new URL(url);
  return { host: hostname, port: Number(port || 6379) };
}

/**
 * A connected client.
 *
 * `library` is `redis` or `ioredis`; `urls` are those of one server, of some nodes of a Redis Cluster
 * (`cluster`), or of Sentinels that watch the master named `sentinel`. `name` is what the connections
 * are called in `CLIENT LIST`. `report` gets every error of the connection; libraries repair it
 * themselves.
 */
export async function connectRedis({ library, urls, cluster, sentinel, name, options, report }) {
  const make = library === "ioredis" ? ioredis : nodeRedis;
  const client = await make({ urls, cluster, sentinel, name, options });
  client.on("error", (error) => report(error));
  await client.connect();
  return client;
}

async function nodeRedis({ urls, cluster, sentinel, name, options }) {
  const { createClient, createCluster } = await import("redis");
  if (cluster) {
    return createCluster({ rootNodes: urls.map((url) => ({ url })), defaults: { name }, ...options });
  }
  // Its `sendCommand` is another one than the adapters call.
  if (sentinel) throw new Error("the adapters cannot use the Sentinel clients of `redis`, only those of `ioredis`");
  return createClient({ url: urls[0], name, ...options });
}

async function ioredis({ urls, cluster, sentinel, name, options }) {
  const { Cluster, Redis } = await import("ioredis");
  if (cluster) {
    return new Cluster(urls.map(place), {
      lazyConnect: true,
      shardedSubscribers: true,
      redisOptions: { connectionName: name },
      ...options,
    });
  }
  const common = { lazyConnect: true, connectionName: name, ...options };
  if (sentinel) return new Redis({ sentinels: urls.map(place), name: sentinel, ...common });
  return new Redis(urls[0], common);
}

/** Sends a command whose client has no method of its own for it, or another one in each library. */
export async function ask(client, ...words) {
  return await (client.call ? client.call(...words) : client.sendCommand(words));
}

/** How many connections to these servers subscribe to a channel. */
export async function subscribers(servers, channel, sharded) {
  const kind = sharded ? "SHARDNUMSUB" : "NUMSUB";
  const counts = await Promise.all(servers.map((server) => ask(server, "PUBSUB", kind, channel)));
  return counts.reduce((sum, [, count]) => sum + Number(count), 0);
}

/** How many connections of this name to these servers wait in an XREAD. */
export async function waitingReads(servers, name) {
  const lists = await Promise.all(servers.map((server) => ask(server, "CLIENT", "LIST")));
  const lines = lists.flatMap((list) => String(list).split("\n"));
  return lines.filter((line) => line.includes(` name=${name} `) && line.includes(" cmd=xread ")).length;
}
