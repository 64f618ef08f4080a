// Real Socket.IO clients, driven by JSON lines: one command a line on standard input,
// {"id":1,"op":"connect",…}, answered on standard output by {"id":1,"ok":…} or
// {"id":1,"error":"…"}. `kit/src/clients.rs` is the other side.
//
// A binary part of an argument is written {"$bytes":"0aff"}, hexadecimal.

import { createInterface } from "node:readline";
import { io } from "socket.io-client";
import msgpack from "socket.io-msgpack-parser";

/** How often a wait looks at its condition. */
const LOOK_EVERY_MS = 5;
/** Events with numbers; counted and checked, not kept. See `Flood` in kit/src/protocol/flood.rs. */
const FLOOD = "flood";
/** What the server sends when its handlers are in place. */
const HANDLERS_READY = "ready";
/** Events kept for one client; more is a fault of the test. */
const MAX_EVENTS = 100_000;

const clients = new Map();

class Client {
  constructor(url, how, beside) {
    this.events = [];
    this.answers = new Map();
    this.tallies = new Map();
    this.ready = false;
    this.failure = undefined;
    this.disconnected = undefined;
    const auth = { ...how.auth, rooms: how.rooms };
    this.socket = beside
      ? beside.socket.io.socket(how.nsp, { auth }).connect()
      : io(url + how.nsp, {
          transports: [how.transport],
          upgrade: false,
          forceNew: true,
          reconnection: how.reconnect,
          reconnectionDelay: 20,
          reconnectionDelayMax: 200,
          auth,
          query: how.query,
          extraHeaders: how.headers,
          ...(how.parser === "msgpack" ? { parser: msgpack } : {}),
        });
    if (how.session) {
      // As if this client had been connected before, and had got events up to the offset.
      this.socket._pid = how.session.pid;
      this.socket._lastOffset = how.session.offset;
    }
    this.socket.on("connect", () => (this.disconnected = undefined));
    this.socket.on("connect_error", (error) => (this.failure = String(error.message)));
    this.socket.on("disconnect", (reason) => (this.disconnected = reason));
    this.socket.onAny((event, ...args) => this.onEvent(event, args));
  }

  onEvent(event, args) {
    if (event === HANDLERS_READY) {
      this.ready = true;
      return;
    }
    if (event === FLOOD) {
      this.count(args);
      return;
    }
    const acknowledge = typeof args.at(-1) === "function" ? args.pop() : undefined;
    if (this.events.length >= MAX_EVENTS) {
      throw new Error(`more than ${MAX_EVENTS} events for one client`);
    }
    this.events.push([event, args.map(pack)]);
    const answer = this.answers.get(event);
    if (acknowledge && answer !== undefined) {
      acknowledge(...(answer === "echo" ? args : answer.with.map(unpack)));
    }
  }

  count([stream, number, size, payload]) {
    const tally = this.tally(stream);
    tally.received += 1;
    const fault = (text) => (tally.first_fault ??= `number ${number}: ${text}`);
    if (number > tally.next) {
      fault(`expected ${tally.next}`);
      tally.skipped += number - tally.next;
    }
    if (number < tally.next) {
      fault(`came after ${tally.next - 1}`);
      tally.late += 1;
    } else {
      tally.next = number + 1;
    }
    if (!isPayload(number, size, payload)) {
      fault("wrong payload");
      tally.corrupt += 1;
    }
  }

  tally(stream) {
    let tally = this.tallies.get(stream);
    if (!tally) {
      tally = { received: 0, next: 0, skipped: 0, late: 0, corrupt: 0, first_fault: null };
      this.tallies.set(stream, tally);
    }
    return tally;
  }

  received(event) {
    return this.events.filter(([name]) => name === event).map(([, args]) => args);
  }
}

/** The first, the middle and the last byte tell the number; see `payload` in the test server. */
function isPayload(number, size, payload) {
  if (typeof payload === "string") {
    const letter = String.fromCharCode(97 + (number % 26));
    return payload.length === size && [0, size >> 1, size - 1].every((i) => size === 0 || payload[i] === letter);
  }
  const data = asBuffer(payload);
  const byte = number % 256;
  return data?.length === size && [0, size >> 1, size - 1].every((i) => size === 0 || data[i] === byte);
}

function asBuffer(value) {
  if (value instanceof ArrayBuffer) return Buffer.from(value);
  if (ArrayBuffer.isView(value)) return Buffer.from(value.buffer, value.byteOffset, value.byteLength);
  return undefined;
}

/** An argument as JSON. */
function pack(value) {
  const data = asBuffer(value);
  if (data) return { $bytes: data.toString("hex") };
  if (Array.isArray(value)) return value.map(pack);
  if (value !== null && typeof value === "object") {
    return Object.fromEntries(Object.entries(value).map(([key, part]) => [key, pack(part)]));
  }
  return value;
}

/** The reverse of `pack`. */
function unpack(value) {
  if (Array.isArray(value)) return value.map(unpack);
  if (value !== null && typeof value === "object") {
    const keys = Object.keys(value);
    if (keys.length === 1 && keys[0] === "$bytes") return Buffer.from(value.$bytes, "hex");
    return Object.fromEntries(Object.entries(value).map(([key, part]) => [key, unpack(part)]));
  }
  return value;
}

const pause = () => new Promise((resolve) => setTimeout(resolve, LOOK_EVERY_MS));

/** Looks until the condition holds. `moved` says that there is progress: the deadline starts again. */
async function until(isMet, deadlineMs, whatThereIs, progress = () => undefined) {
  let giveUp = Date.now() + deadlineMs;
  let last = progress();
  while (!isMet()) {
    const now = progress();
    if (now !== last) {
      last = now;
      giveUp = Date.now() + deadlineMs;
    }
    if (Date.now() > giveUp) {
      throw new Error(`not within ${deadlineMs} ms; there is: ${JSON.stringify(whatThereIs())}`);
    }
    await pause();
  }
}

const operations = {
  async connect({ client: number, url, how, beside, deadline_ms }) {
    const client = new Client(url, how, clients.get(beside));
    clients.set(number, client);
    const failed = () => client.failure !== undefined && !how.reconnect;
    const state = () => ({ connected: client.socket.connected, failure: client.failure });
    await until(() => client.ready || failed(), deadline_ms, state);
    if (!client.ready) throw new Error(client.failure);
    return { id: client.socket.id };
  },

  received: (client, { event }) => client.received(event),

  async wait_for(client, { event, count, deadline_ms }) {
    const received = () => client.received(event);
    await until(() => received().length >= count, deadline_ms, received);
    return received();
  },

  answer(client, { event, answer }) {
    client.answers.set(event, answer);
  },

  emit(client, { event, args }) {
    client.socket.emit(event, ...args.map(unpack));
  },

  async emit_with_ack(client, { event, args, deadline_ms }) {
    return await new Promise((resolve, reject) => {
      client.socket.timeout(deadline_ms).emit(event, ...args.map(unpack), (error, ...answer) => {
        if (error) reject(error);
        else resolve(answer.map(pack));
      });
    });
  },

  tally: (client, { stream }) => client.tally(stream),

  async wait_for_flood(client, { stream, count, quiet_ms }) {
    const tally = client.tally(stream);
    const isOver = () => tally.received >= count || tally.first_fault !== null;
    await until(isOver, quiet_ms, () => tally, () => tally.received);
    return tally;
  },

  async wait_until_disconnected(client, { deadline_ms }) {
    await until(() => client.disconnected !== undefined, deadline_ms, () => "still connected");
    return client.disconnected;
  },

  is_connected: (client) => client.socket.connected,

  session: ({ socket }) => ({
    id: socket.id ?? null,
    pid: socket._pid ?? null,
    offset: socket._lastOffset ?? null,
    recovered: socket.recovered,
  }),

  break_off(client) {
    client.socket.io.engine.close();
  },

  disconnect(client) {
    client.socket.disconnect();
  },
};

async function answer(line) {
  const { id, op, ...args } = JSON.parse(line);
  let reply;
  try {
    const operation = operations[op];
    if (!operation) throw new Error(`there is no operation ${op}`);
    const client = clients.get(args.client);
    if (op !== "connect" && !client) throw new Error(`there is no client ${args.client}`);
    const ok = op === "connect" ? await operation(args) : await operation(client, args);
    reply = { id, ok: ok ?? null };
  } catch (error) {
    reply = { id, error: String(error.message) };
  }
  process.stdout.write(JSON.stringify(reply) + "\n");
}

// The test's end is the end of standard input.
const lines = createInterface({ input: process.stdin, crlfDelay: Infinity });
lines.on("line", answer);
lines.on("close", () => process.exit(0));
process.stdout.write("READY\n");
