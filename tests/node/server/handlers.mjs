// What the server does for its clients and for other servers: nothing that the tests do not need.
// The same as `handlers.rs` and `answers.rs` in `kit/src/subject`.
//
// A client that sends rooms along with its connection is put into them. Events: `join` and `leave`
// with a list of rooms, `data` with what other servers shall see as the socket's data, and any other
// event that asks for an acknowledgement gets its own arguments back.

import { pack } from "../values.mjs";

/** Static namespaces. */
export const NAMESPACES = ["/", "/chat"];
/** Namespaces that come into being when a client asks for them. */
const DYNAMIC_NAMESPACES = /^\/dyn-[^/]+$/;
/** Tells a client that its events will be heard from now on. */
const READY = "ready";
/** Events of other servers kept for one namespace; more is a fault of the test. */
const MAX_SERVER_EVENTS = 100_000;
/** Limit for what another server can make this one answer. */
const MAX_ANSWER_BYTES = 64 * 1024 * 1024;

/** Registers everything. Returns the events that other servers sent, by namespace. */
export function register(io, backend, name) {
  const received = new Map();
  const hear = (nsp) => {
    received.set(nsp.name, []);
    hearServers(nsp, name, received.get(nsp.name));
  };
  // Before the namespaces are made: also those that clients ask for.
  io.on("new_namespace", hear);
  hear(io.of("/"));
  for (const which of [...NAMESPACES, DYNAMIC_NAMESPACES]) {
    io.of(which).on("connection", (socket) => onConnect(socket, backend));
  }
  return received;
}

async function onConnect(socket, backend) {
  const known = ["join", "leave", "data"];
  const change = async (rooms, acknowledge, how) => {
    await how(rooms);
    await backend.settle();
    acknowledge?.();
  };
  socket.on("join", (rooms, acknowledge) => change(rooms, acknowledge, (rooms) => socket.join(rooms)));
  socket.on("leave", (rooms, acknowledge) =>
    change(rooms, acknowledge, async (rooms) => {
      for (const room of rooms) await socket.leave(room);
    }),
  );
  socket.on("data", (data, acknowledge) => {
    socket.data = data;
    acknowledge?.();
  });
  socket.onAny((event, ...args) => {
    const acknowledge = args.at(-1);
    if (known.includes(event) || typeof acknowledge !== "function") return;
    acknowledge(...args.slice(0, -1));
  });
  const rooms = socket.handshake.auth?.rooms;
  if (Array.isArray(rooms)) await socket.join(rooms);
  await backend.settle();
  socket.emit(READY);
}

/** Events that other servers send with `serverSideEmit`: each is recorded and answered in its way. */
function hearServers(nsp, name, received) {
  const answers = {
    note: undefined,
    silent: undefined,
    question: (args) => ({ from: name, args }),
    slow: async (args) => {
      await new Promise((resolve) => setTimeout(resolve, size(args)));
      return { from: name, args };
    },
    large: (args) => "x".repeat(size(args)),
    binary: (args) => Buffer.alloc(size(args), 7),
  };
  for (const [event, answer] of Object.entries(answers)) {
    nsp.on(event, async (...args) => {
      const acknowledge = typeof args.at(-1) === "function" ? args.pop() : undefined;
      if (received.length >= MAX_SERVER_EVENTS) {
        throw new Error(`more than ${MAX_SERVER_EVENTS} events of other servers in ${nsp.name}`);
      }
      received.push({ event, args: args.map(pack), from: null });
      if (answer && acknowledge) acknowledge(await answer(args));
    });
  }
}

function size([size]) {
  return Number.isSafeInteger(size) ? Math.min(Math.max(size, 0), MAX_ANSWER_BYTES) : 0;
}
