// A Node.js Socket.IO server of a cluster that does what it is told: the peer of our servers in the
// integration tests. It takes the same commands as `kit/src/subject` and answers in the
// same way (`console.mjs`). By hand:
//
//   $ node server.mjs --adapter redis --url redis://127.0.0.1:6379
//   LISTENING http://127.0.0.1:40123
//   {"id":1,"op":"server_count","nsp":"/"}
//   {"id":1,"ok":3}

import { createServer } from "node:http";
import { Server } from "socket.io";
import msgpack from "socket.io-msgpack-parser";

import { takeCommands } from "./console.mjs";
import { readOptions } from "./options.mjs";
import { ADAPTERS, connectBackend } from "./server/backends.mjs";
import { commandsOf } from "./server/commands.mjs";
import { NAMESPACES, register } from "./server/handlers.mjs";

const USAGE = `usage: node server.mjs [--port PORT] [--name NAME] [--parser common|msgpack] [--exit-with-stdin]
                       [--adapter ${ADAPTERS.join("|")}]
                       [--url URL[,URL…]] [--cluster] [--sentinel MASTER]
                       [--options JSON] [--client-options JSON] [--server-options JSON]

--url             of Redis or Postgres; several for a Redis Cluster (--cluster) or Sentinels (--sentinel)
--options         of the adapter
--client-options  of the backend's client: \`redis\`, \`ioredis\`, or the pool of \`pg\`
--server-options  of Socket.IO, for example {"connectionStateRecovery":{}}`;

/** A server that cannot stop in this time is a finding: it exits with an error. */
const STOP_LIMIT_MS = 30_000;
/** What one client may send at once; floods go the other way and have no limit. */
const MAX_MESSAGE_BYTES = 16 * 1024 * 1024;
/** Errors of the backend that \`status\` shows, the last ones. */
const MAX_ERRORS = 20;

const args = readOptions(USAGE, {
  port: 0,
  name: "node-server",
  parser: ["common", "msgpack"],
  adapter: ADAPTERS,
  url: undefined,
  cluster: false,
  sentinel: undefined,
  options: {},
  "client-options": {},
  "server-options": {},
  "exit-with-stdin": false,
});

const errors = [];
const report = (text) => {
  process.stderr.write(`${text}\n`);
  errors.push(text);
  if (errors.length > MAX_ERRORS) errors.shift();
};
// The adapters do not wait for what they publish, so a backend that is away shows itself here. It
// must not end a server; everything else that is not caught does.
process.on("unhandledRejection", (error) => report(`not handled: ${error?.stack ?? error}`));

const backend = await connectBackend({
  ...args,
  clientOptions: args["client-options"],
  report,
});
const http = createServer();
const io = new Server(http, {
  maxHttpBufferSize: MAX_MESSAGE_BYTES,
  ...(args.parser === "msgpack" ? { parser: msgpack } : {}),
  ...(backend.createAdapter ? { adapter: backend.createAdapter } : {}),
  ...args["server-options"],
});
const received = register(io, backend, args.name);
await backend.ready(new Map(NAMESPACES.map((nsp) => [nsp, io.of(nsp).adapter])));

http.listen(args.port, "127.0.0.1", () => {
  process.stderr.write(`${args.name} is a Node.js server with the adapter ${args.adapter}\n`);
  process.stdout.write(`LISTENING http://127.0.0.1:${http.address().port}\n`);
  const onEnd = () => {
    if (args["exit-with-stdin"]) stop();
  };
  takeCommands(commandsOf({ ...args, io, backend, received, errors }), onEnd);
});

let stopping = false;
async function stop() {
  if (stopping) return;
  stopping = true;
  setTimeout(() => {
    process.stderr.write(`did not stop within ${STOP_LIMIT_MS / 1000} s\n`);
    process.exit(1);
  }, STOP_LIMIT_MS).unref();
  // Closing an adapter may end in a rejection when the backend is away.
  await io.close().catch(report);
  // What says goodbye to the other servers must be out before the end.
  await Promise.race([backend.flush().catch(report), new Promise((resolve) => setTimeout(resolve, 1000))]);
  process.exit(0);
}
process.on("SIGTERM", stop);
process.on("SIGINT", stop);
