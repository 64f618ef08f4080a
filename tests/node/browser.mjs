// The demo page in a real browser, driven by JSON lines: one command a line on standard input,
// answered on standard output by {"id":1,"ok":…} or {"id":1,"error":"…"}. Commands:
//
//   {"id":1,"op":"open","visitor":"Ada","url":"http://…"}            a new visitor with this name
//   {"id":2,"op":"do","visitor":"Ada","what":"say","with":["Hello"]} a method of Visitor; an
//                                        argument {"visitor":"Ben"} stands for that visitor
//   {"id":3,"op":"faults"}               what went wrong in the pages' own scripts
//
// It prints READY when the browser runs. It ends with its standard input, and at SIGTERM.
// `tests/tests/browser.rs` is the other side; what a visitor can do is in chat-page.mjs.

import { createInterface } from "node:readline";
import { startBrowser, Visitor } from "./chat-page.mjs";

const visitors = new Map();

function visitorNamed(name) {
  const visitor = visitors.get(name);
  if (!visitor) throw new Error(`there is no visitor ${name}`);
  return visitor;
}

const resolve = (argument) => (argument?.visitor ? visitorNamed(argument.visitor) : argument);

async function carryOut(command) {
  switch (command.op) {
    case "open":
      visitors.set(command.visitor, await Visitor.open(browser, command.url, command.visitor));
      return null;
    case "do": {
      const visitor = visitorNamed(command.visitor);
      if (typeof visitor[command.what] !== "function") throw new Error(`a visitor cannot ${command.what}`);
      return (await visitor[command.what](...command.with.map(resolve))) ?? null;
    }
    case "faults":
      return [...visitors.values()].flatMap((visitor) => visitor.faults);
    default:
      throw new Error(`there is no command ${command.op}`);
  }
}

async function answer(line) {
  const command = JSON.parse(line);
  let reply;
  try {
    reply = { id: command.id, ok: await carryOut(command) };
  } catch (error) {
    reply = { id: command.id, error: String(error.message ?? error) };
  }
  process.stdout.write(`${JSON.stringify(reply)}\n`);
}

const browser = await startBrowser();
// Also when the browser crashes: then the command under way fails, rather than wait.
browser.on("disconnected", () => process.exit(0));
console.log("READY");
const lines = createInterface({ input: process.stdin });
lines.on("line", answer);
lines.on("close", () => browser.close());
