// Many numbered events as fast as the backend takes them; `kit/src/subject/flood.rs` in
// JavaScript. The clients check the payloads.

import { check } from "../console.mjs";

const EVENT = "flood";
const MAX_SIZE_BYTES = 8 * 1024 * 1024;
/**
 * `emit` returns at once whatever is still to be sent, so nothing but this keeps a flood from filling
 * the memory: after so many events or bytes it waits until the backend has taken them.
 */
const FLUSH_AFTER_EVENTS = 200;
const FLUSH_AFTER_BYTES = 4 * 1024 * 1024;

/** Emits one after the other and stops at the first that is not accepted. */
export async function runFlood(operators, flood, flush) {
  check("flood", flood, ["select", "stream", "count", "sizes"], ["rooms_in_turn", "first", "binary"]);
  const { rooms_in_turn: rooms = [], stream, first = 0, count, sizes, binary = "never" } = flood;
  if (sizes.length === 0 || sizes.some((size) => size > MAX_SIZE_BYTES)) {
    throw new Error(`\`sizes\` takes at least one size, none above ${MAX_SIZE_BYTES} bytes`);
  }
  const start = Date.now();
  const report = { accepted: 0, error: null, elapsed_ms: 0 };
  let unflushed = 0;
  try {
    for (let turn = 0; turn < count; turn++) {
      const number = first + turn;
      const size = sizes[turn % sizes.length];
      const to = rooms.length === 0 ? operators : operators.to(rooms[turn % rooms.length]);
      to.emit(EVENT, stream, number, size, payload(number, size, isBinary(binary, number)));
      report.accepted += 1;
      unflushed += size;
      if (report.accepted % FLUSH_AFTER_EVENTS === 0 || unflushed >= FLUSH_AFTER_BYTES) {
        unflushed = 0;
        await flush();
        // The sockets of the clients write only when nothing else is to be done.
        await new Promise((resolve) => setImmediate(resolve));
      }
    }
    await flush();
  } catch (error) {
    report.error = String(error.message);
  }
  report.elapsed_ms = Date.now() - start;
  return report;
}

function isBinary(binary, number) {
  switch (binary) {
    case "never":
      return false;
    case "every_other":
      return number % 2 === 1;
    case "always":
      return true;
    default:
      throw new Error(`\`binary\` is never, every_other or always, not ${binary}`);
  }
}

/** Made of one byte that follows from the number. */
function payload(number, size, binary) {
  return binary ? Buffer.alloc(size, number % 256) : String.fromCharCode(97 + (number % 26)).repeat(size);
}
