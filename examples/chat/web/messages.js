// The talk: one log for each room, with what was said, pictures, notices and reports of pings,
// and the line that says who is typing. Messages are kept in this page only, up to a limit.

import { byId, count, el, nodeTag, paint } from "./dom.js";
import { avatar } from "./people.js";

const MAX_ENTRIES = 200;
// Messages of one person that follow each other within this time are drawn as one group.
const GROUP_WITHIN_MS = 120_000;
const TYPING_SHOWN_MS = 2_500;

const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });

export class Messages {
  /** By room: { list, last }. */
  #rooms = new Map();
  #current = null;
  /** By visitor: { name, room, timer }. */
  #typing = new Map();

  /** Shows the log of this room. */
  open(room) {
    this.#current = room;
    byId("log").replaceChildren(this.#room(room).list);
    this.#scrollDown();
    this.#drawTyping();
  }

  /** Throws away the log of a room that was left. */
  drop(room) {
    this.#rooms.get(room)?.list.querySelectorAll("img").forEach(forgetPicture);
    this.#rooms.delete(room);
  }

  /** Adds a message that came from the server; its content is a text or a picture. */
  add({ room, from, name, node, at_ms, content }, mine) {
    this.#stopTyping(from);
    const log = this.#room(room);
    const follows = log.last?.from === from && log.last.name === name && at_ms - log.last.at_ms < GROUP_WITHIN_MS;
    log.last = { from, name, at_ms };
    const classes = ["message", mine && "mine", follows && "follows"].filter(Boolean).join(" ");
    const entry = el("li", { class: classes, "data-testid": "message", "data-from": name, "data-node": node.name },
      !follows && avatar(name, node.name),
      el("div", { class: "bubble-column" },
        !follows && el("p", { class: "by" }, el("b", {}, mine ? "You" : name), nodeTag(node.name, { title: `from node ${node.name}` }),
          el("time", { datetime: new Date(at_ms).toISOString() }, clock.format(at_ms))),
        typeof content === "string"
          ? el("p", { class: "bubble", "data-testid": "message-text" }, content)
          : this.#picture(content, name)));
    paint(entry, node.name);
    this.#append(room, entry);
  }

  /** Adds a line about the cluster to the open room. */
  notice(text, nodeName) {
    const entry = el("li", { class: "notice", "data-testid": "notice" }, nodeName && nodeTag(nodeName), ` ${text}`);
    this.#append(this.#current, entry);
  }

  /** Adds what came of a mistake or a fault. */
  fault(text) {
    this.#append(this.#current, el("li", { class: "notice fault", "data-testid": "fault" }, text));
  }

  /** Adds the report of a ping; `nameOf` turns a node's id into its name. */
  report({ clients, answered, ms, nodes }, nameOf) {
    const byNode = Object.entries(nodes)
      .map(([id, from]) => ({ name: nameOf(id), ...from }))
      .sort((a, b) => a.name.localeCompare(b.name));
    const all = Math.max(clients, answered);
    this.#append(this.#current, el("li", { class: "report", "data-testid": "report" },
      el("p", {}, el("b", {}, `${answered} of ${count(all, "client")}`), ` answered in ${milliseconds(ms)}`),
      el("ul", {}, ...byNode.map((from) => el("li", { "data-testid": `report-${from.name}` },
        nodeTag(from.name), ` ${count(from.answered, "client")}`, el("span", { class: "small" }, milliseconds(from.ms)))))));
  }

  /** Somebody is typing, and may be for a little longer. */
  showTyping({ room, from, name }) {
    this.#stopTyping(from);
    const timer = setTimeout(() => this.#stopTyping(from), TYPING_SHOWN_MS);
    this.#typing.set(from, { room, name, timer });
    this.#drawTyping();
  }

  #stopTyping(from) {
    clearTimeout(this.#typing.get(from)?.timer);
    if (this.#typing.delete(from)) this.#drawTyping();
  }

  #drawTyping() {
    const names = [...this.#typing.values()].filter(({ room }) => room === this.#current).map(({ name }) => name);
    const who = names.length > 2 ? "Several people are" : `${names.join(" and ")} ${names.length > 1 ? "are" : "is"}`;
    const dots = el("span", { class: "dots", "aria-hidden": "true" }, el("i"), el("i"), el("i"));
    byId("typing").replaceChildren(...(names.length > 0 ? [dots, `${who} typing`] : []));
  }

  #room(room) {
    if (!this.#rooms.has(room)) {
      const hello = el("li", { class: "empty" },
        el("b", {}, `This is # ${room}`),
        "What you write here reaches everybody in the room, whichever node they are connected to. Open another node in the strip above to see both sides.");
      this.#rooms.set(room, { list: el("ol", {}, hello), last: null });
    }
    return this.#rooms.get(room);
  }

  #append(room, entry) {
    const log = this.#room(room);
    // A reader who has scrolled up is left where they are.
    const box = byId("log");
    const atEnd = box.scrollHeight - box.scrollTop - box.clientHeight < 80;
    if (!entry.classList.contains("message")) log.last = null;
    log.list.querySelector(".empty")?.remove();
    log.list.append(entry);
    while (log.list.children.length > MAX_ENTRIES) {
      log.list.firstChild.querySelectorAll("img").forEach(forgetPicture);
      log.list.firstChild.remove();
    }
    if (room === this.#current && (atEnd || entry.classList.contains("mine"))) this.#scrollDown();
  }

  #picture({ media_type, bytes }, name) {
    const image = el("img", { alt: `Picture from ${name}`, "data-testid": "message-picture" });
    image.addEventListener("load", () => this.#scrollDown(), { once: true });
    image.src = URL.createObjectURL(new Blob([bytes], { type: media_type }));
    return el("figure", { class: "bubble" }, image,
      el("figcaption", {}, `${Math.max(1, Math.round(bytes.byteLength / 1024))} KiB as a binary attachment`));
  }

  #scrollDown() {
    const box = byId("log");
    box.scrollTop = box.scrollHeight;
  }
}

const forgetPicture = (image) => URL.revokeObjectURL(image.src);

const milliseconds = (ms) => `${ms < 10 ? ms.toFixed(1) : Math.round(ms)} ms`;
