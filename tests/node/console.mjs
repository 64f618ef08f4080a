// Commands in, answers out: JSON lines on standard input and output. {"id":1,"op":…} is answered by
// {"id":1,"ok":…} or {"id":1,"error":"…"}. Commands run at the same time and are answered as they
// finish. `kit/src/process.rs` is the other side.

import { createInterface } from "node:readline";

/** Commands under way; further ones wait. Thousands of questions at one time are a thing to test. */
const MAX_RUNNING = 8192;

/**
 * Takes commands until standard input ends, then calls `onEnd`.
 *
 * `commands` has for each operation `fields`, the names that a command must have, `optional`, those
 * it may have, and `run`, which gets the command. A name that is neither is a mistake and refused:
 * an option that is silently ignored makes a test say what it does not prove.
 */
export function takeCommands(commands, onEnd) {
  const lines = createInterface({ input: process.stdin, crlfDelay: Infinity });
  let running = 0;
  lines.on("line", async (line) => {
    running += 1;
    if (running >= MAX_RUNNING) lines.pause();
    const reply = await answer(commands, line);
    process.stdout.write(JSON.stringify(reply) + "\n");
    running -= 1;
    if (running < MAX_RUNNING) lines.resume();
  });
  lines.on("close", onEnd);
}

async function answer(commands, line) {
  let id = 0;
  try {
    const command = JSON.parse(line);
    if (!Number.isSafeInteger(command?.id) || command.id < 0) {
      throw new Error("a command needs an `id`, a number");
    }
    id = command.id;
    const { run, fields, optional = [] } = find(commands, command.op);
    const { id: _id, op, ...rest } = command;
    check(op, rest, fields, optional);
    return { id, ok: (await run(rest)) ?? null };
  } catch (error) {
    return { id, error: String(error?.message ?? error) };
  }
}

function find(commands, op) {
  if (typeof op !== "string" || !Object.hasOwn(commands, op)) {
    throw new Error(`no command: unknown variant \`${op}\`, there are: ${Object.keys(commands).join(", ")}`);
  }
  return commands[op];
}

/** Throws unless `object` has all `fields` and nothing but these and `optional` ones. */
export function check(what, object, fields, optional = []) {
  const missing = fields.find((field) => object[field] === undefined);
  if (missing !== undefined) throw new Error(`no command: ${what} needs the field \`${missing}\``);
  const known = [...fields, ...optional];
  const strange = Object.keys(object).find((field) => !known.includes(field));
  if (strange !== undefined) throw new Error(`no command: ${what} has no field \`${strange}\``);
}
