// Carries out the commands of `kit/src/protocol`: each is what a user of Socket.IO would write.
// Those that ask for Switchboard's own operators (`board`) get Socket.IO's, and its answers in the
// form of ours, or an error where it does not say enough.
//
// What Node.js cannot say is left open in the answers: who acknowledged a broadcast (an empty socket
// id, and of its arguments only the first), which server has a socket (empty, or null), and which
// server answered an event.

import { check } from "../console.mjs";
import { pack, unpack } from "../values.mjs";
import { pause, until } from "./backends.mjs";
import { runFlood } from "./flood.mjs";

/** How long acknowledgements are waited for when a command does not say; socketioxide's default. */
const ACK_TIMEOUT_MS = 5_000;
/** No adapter waits longer than this for the answers of other servers, unless its options say so. */
const SERVERS_TIMEOUT_MS = 5_000;
/** The adapters forget to answer when the backend is away as a question starts. */
const SERVERS_MARGIN_MS = 2_000;
/** How long a delayed operation may take to come back from the backend before nobody waits for it. */
const DELAYED_LIMIT_MS = 2_000;

export function commandsOf({ io, backend, name, adapter, options, received, errors }) {
  const namespace = (nsp) => {
    // Not `io.of`, which would make it.
    const found = io._nsps.get(nsp);
    if (!found) throw new Error(`this server has no namespace ${nsp}`);
    return found;
  };

  /** `io.of(…).to(…).except(…)`, as a user would chain it. */
  const operators = (select = {}) => {
    check("select", select, [], ["nsp", "rooms", "except", "local", "volatile", "from", "timeout_ms", "board"]);
    const nsp = namespace(select.nsp ?? "/");
    let operators = nsp;
    if (typeof select.from === "string") {
      const socket = nsp.sockets.get(select.from);
      if (!socket) throw new Error(`this server has no socket ${select.from}`);
      operators = socket.broadcast;
    }
    // An empty list would make no difference, but it would make an operator of a namespace.
    if (select.rooms?.length) operators = operators.to(select.rooms);
    if (select.except?.length) operators = operators.except(select.except);
    if (select.local) operators = operators.local;
    if (select.volatile) operators = operators.volatile;
    if (typeof select.timeout_ms === "number") operators = operators.timeout(select.timeout_ms);
    return operators;
  };

  const localSockets = (select) => operators({ ...select, local: true }).fetchSockets();

  /** For adapters that act on their own sockets only when the backend has taken the operation. */
  const whenDone = async (select, isDone) => {
    if (!backend.delayed || select.local) return;
    const sockets = await localSockets(select);
    return async () => {
      const done = until("the operation to come back", () => sockets.every(isDone), DELAYED_LIMIT_MS);
      // A backend that is away makes it late, not wrong.
      await done.catch(() => {});
    };
  };
  const act = async (select, isDone, operation) => {
    const done = await whenDone(select, isDone);
    operation(operators(select));
    await done?.();
    await backend.settle();
  };
  const localSocket = (socket) => {
    for (const nsp of io._nsps.values()) {
      if (nsp.sockets.has(socket.id)) return nsp.sockets.get(socket.id);
    }
    return undefined;
  };
  const isIn = (rooms, wanted) => (socket) =>
    !localSocket(socket) || rooms.every((room) => localSocket(socket).rooms.has(room) === wanted);
  const uid = () => io.of("/").adapter.uid ?? name;
  const withTimeout = (select) => operators({ ...select, timeout_ms: select.timeout_ms ?? ACK_TIMEOUT_MS });

  const remoteActions = {
    emit: (socket, { event, args }) => void socket.emit(event, ...args.map(unpack)),
    async emit_with_ack(socket, { event, args }) {
      const answer = socket.timeout(ACK_TIMEOUT_MS).emitWithAck(event, ...args.map(unpack));
      return await answer.then(
        (value) => [{ socket: socket.id, answer: { Ok: ackArgs(value) } }],
        (error) => [{ socket: socket.id, answer: { Err: error.message } }],
      );
    },
    join: (socket, rooms, select) => act(select, isIn(rooms, true), () => socket.join(rooms)),
    leave: (socket, rooms, select) =>
      act(select, isIn(rooms, false), () => rooms.forEach((room) => socket.leave(room))),
    rooms: (socket) => [...socket.rooms],
    disconnect: (socket) => void socket.disconnect(),
    close: (socket) => void socket.disconnect(true),
  };

  return {
    node: { fields: [], run: uid },

    status: {
      fields: [],
      run: () => ({
        node: uid(),
        name,
        adapter,
        clients: io.engine.clientsCount,
        namespaces: [...io._nsps.keys()],
        errors: [...errors],
      }),
    },

    server_count: {
      fields: ["nsp"],
      // A server without the namespace is not in it.
      run: ({ nsp }) => io._nsps.get(nsp)?.adapter.serverCount() ?? 0,
    },

    broadcast: {
      fields: ["select", "event", "args"],
      run: ({ select, event, args }) => void operators(select).emit(event, ...args.map(unpack)),
    },

    broadcast_with_ack: {
      fields: ["select", "event", "args"],
      async run({ select, event, args }) {
        const ok = (value) => ({ socket: "", answer: { Ok: ackArgs(value) } });
        try {
          const values = await withTimeout(select).emitWithAck(event, ...args.map(unpack));
          return select.board ? boardAcks(values.map((value) => ({ ...ok(value), socket: null }))) : values.map(ok);
        } catch (error) {
          // Which servers and how many clients are missing is not known.
          if (!Array.isArray(error.responses) || select.board) throw error;
          return [...error.responses.map(ok), { socket: "", answer: { Err: error.message } }];
        }
      },
    },

    fetch_sockets: {
      fields: ["select"],
      optional: ["marker"],
      async run({ select, marker }) {
        const here = new Set((await localSockets(select)).map((socket) => socket.id));
        const fetch = operators(select).fetchSockets();
        // Awaited below; until then a failure is nobody's.
        fetch.catch(() => {});
        if (typeof marker === "string") {
          // The adapter first asks the backend how many servers there are, then them.
          await backend.flush();
          await pause(0);
          namespace(select.nsp ?? "/").emit(marker);
        }
        const nsp = select.nsp ?? "/";
        return (await fetch).map(({ id }) => ({ id, server: here.has(id) ? uid() : "", nsp }));
      },
    },

    remote_sockets: {
      fields: ["select"],
      async run({ select }) {
        const sockets = await operators(select).fetchSockets();
        return sockets.map(({ id, rooms, data, handshake }) => ({
          id,
          node: null,
          rooms: [...rooms],
          data: pack(data),
          handshake: pack(handshake),
        }));
      },
    },

    rooms: {
      fields: ["select"],
      async run({ select }) {
        const sockets = await operators(select).fetchSockets();
        return [...new Set(sockets.flatMap((socket) => [...socket.rooms]))];
      },
    },

    join: {
      fields: ["select", "rooms"],
      run: ({ select, rooms }) => act(select, isIn(rooms, true), (operators) => operators.socketsJoin(rooms)),
    },

    leave: {
      fields: ["select", "rooms"],
      run: ({ select, rooms }) => act(select, isIn(rooms, false), (operators) => operators.socketsLeave(rooms)),
    },

    disconnect: {
      fields: ["select"],
      optional: ["close"],
      run: ({ select, close }) =>
        act(select, (socket) => !localSocket(socket), (operators) => operators.disconnectSockets(close ?? false)),
    },

    remote: {
      fields: ["nsp", "socket", "action"],
      optional: ["board"],
      async run({ nsp, socket: id, action, board }) {
        // A plain word is an action without arguments.
        const [[kind, args]] = Object.entries(typeof action === "string" ? { [action]: null } : action);
        if (!Object.hasOwn(remoteActions, kind)) throw new Error(`no command: there is no action ${kind}`);
        const sockets = await namespace(nsp).fetchSockets();
        const socket = sockets.find((socket) => socket.id === id);
        if (!socket) throw new Error(`no server has a socket ${id}`);
        const done = await remoteActions[kind](socket, args, { nsp, rooms: [id] });
        if (!board || kind !== "emit_with_ack") return done;
        const failure = done[0].answer.Err;
        if (failure !== undefined) throw new Error(failure);
        return boardAcks(done);
      },
    },

    flood: {
      fields: [],
      optional: ["select", "rooms_in_turn", "stream", "first", "count", "sizes", "binary"],
      run: (flood) => runFlood(operators(flood.select), flood, backend.flush),
    },

    set_data: {
      fields: ["socket", "data"],
      run({ socket: id, data }) {
        const socket = localSocket({ id });
        if (!socket) throw new Error(`this server has no socket ${id}`);
        socket.data = unpack(data);
      },
    },

    server_side_emit: {
      fields: ["nsp", "event", "args"],
      run: ({ nsp, event, args }) => void namespace(nsp).serverSideEmit(event, ...args.map(unpack)),
    },

    server_side_emit_with_ack: {
      fields: ["nsp", "event", "args"],
      // Without effect: how long to wait for servers is an option of the adapter, where it is one.
      optional: ["timeout_ms"],
      async run({ nsp, event, args }) {
        const answers = namespace(nsp).serverSideEmitWithAck(event, ...args.map(unpack));
        const limit = (options.requestsTimeout ?? SERVERS_TIMEOUT_MS) + SERVERS_MARGIN_MS;
        const late = pause(limit).then(() => {
          throw new Error(`the adapter has not answered within ${limit} ms`);
        });
        const ok = (value) => ({ node: null, value: pack(value), error: null });
        try {
          return { answers: (await Promise.race([answers, late])).map(ok), missing: [], missing_unknown: 0 };
        } catch (error) {
          if (!Array.isArray(error.responses)) throw error;
          return { answers: error.responses.map(ok), missing: [], missing_unknown: missing(error) };
        } finally {
          late.catch(() => {});
        }
      },
    },

    server_events: {
      fields: ["nsp"],
      run: ({ nsp }) => received.get(nsp) ?? [],
    },
  };
}

/** A client that acknowledges without arguments is one without a first argument. */
function ackArgs(value) {
  return value === undefined ? [] : [pack(value)];
}

/** Acknowledgements, when all have come, in the form that Switchboard's operators give them. */
function boardAcks(acks) {
  const answers = acks.map((ack) => ({ node: "", ...ack }));
  return { answers, missing: [], missing_unknown: 0, unacknowledged: 0, dropped: 0 };
}

/** How many servers have not answered: the adapters say it in their message only. */
function missing(error) {
  const counted = error.message.match(/only (\d+) responses received out of (\d+)/);
  if (counted) return Number(counted[2]) - Number(counted[1]);
  const named = error.message.match(/missing (\d+) responses/);
  if (named) return Number(named[1]);
  throw error;
}
