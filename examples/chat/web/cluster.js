// The cluster as this page sees it: every node announces itself and its visitors to all pages
// (presence.rs), and a node that falls silent is taken out. Also draws the strip of nodes.

import { byId, count, el, paint } from "./dom.js";

// Nodes announce themselves every second.
const SILENT_AFTER_MS = 3_500;
const FORGET_AFTER_MS = 8_000;
// Until then, nodes that appear were there before us.
const SETTLED_AFTER_MS = 2_500;

export class Cluster extends EventTarget {
  /** By id: { id, name, url, total, visitors: [{ id, name, rooms }], heardAt, chip }. */
  #nodes = new Map();
  #myNode = null;
  #settledAt = Infinity;

  constructor(socket) {
    super();
    socket.on("welcome", ({ node }) => this.#welcome(node));
    socket.on("node", (announcement) => this.#hear(announcement));
    socket.on("node-gone", ({ id }) => this.#forget(id));
    setInterval(() => socket.connected && this.#checkSilence(), 500);
  }

  /** All nodes, by name. */
  get nodes() {
    return [...this.#nodes.values()].sort((a, b) => a.name.localeCompare(b.name) || (a.id < b.id ? -1 : 1));
  }

  /** The id of the node that this page is connected to. */
  get myNode() {
    return this.#myNode;
  }

  /** All visitors of all nodes, each with its node. */
  get visitors() {
    return this.nodes.flatMap((node) => node.visitors.map((visitor) => ({ ...visitor, node })));
  }

  /** The name of a node, or its id when we do not know it. */
  nameOf(id) {
    return this.#nodes.get(id)?.name ?? id;
  }

  /** Lets the lamp of a node blink: something came from there. */
  blink(id) {
    const chip = this.#nodes.get(id)?.chip;
    if (!chip) return;
    chip.classList.remove("blink");
    void chip.offsetWidth; // restarts the animation
    chip.classList.add("blink");
  }

  #welcome(node) {
    this.#myNode = node.id;
    this.#settledAt = performance.now() + SETTLED_AFTER_MS;
    const now = performance.now();
    for (const known of this.#nodes.values()) known.heardAt = now;
    this.#draw();
  }

  #hear({ node, total, visitors }) {
    const known = this.#nodes.get(node.id);
    this.#nodes.set(node.id, { chip: known?.chip, ...node, total, visitors, heardAt: performance.now() });
    if (!known) this.#tell("joined", node);
    this.#draw();
  }

  #forget(id) {
    const node = this.#nodes.get(id);
    if (!node) return;
    this.#nodes.delete(id);
    this.#tell("left", node);
    this.#draw();
  }

  #checkSilence() {
    const now = performance.now();
    let changed = false;
    for (const node of this.nodes) {
      const silentFor = now - node.heardAt;
      if (silentFor > FORGET_AFTER_MS) this.#forget(node.id);
      else if (silentFor > SILENT_AFTER_MS && !node.silent) changed = node.silent = true;
    }
    if (changed) this.#draw();
  }

  #tell(what, node) {
    if (performance.now() < this.#settledAt || node.id === this.#myNode) return;
    this.dispatchEvent(new CustomEvent("node", { detail: { what, node } }));
  }

  #draw() {
    for (const node of this.nodes) {
      node.chip ??= el("li", {}, el("a", { target: "_blank", rel: "noopener" }));
      drawChip(node, node.id === this.#myNode);
    }
    const chips = this.nodes.map((node) => node.chip);
    const strip = byId("nodes");
    // Touched only when it changes, so that keyboard focus stays where it is.
    if (chips.length !== strip.children.length || chips.some((chip, at) => chip !== strip.children[at])) {
      strip.replaceChildren(...chips);
    }
    this.dispatchEvent(new Event("change"));
  }
}

function drawChip({ chip, name, url, total, silent }, mine) {
  const link = chip.firstChild;
  paint(chip, name);
  chip.dataset.testid = "node";
  chip.dataset.node = name;
  chip.classList.toggle("mine", mine);
  chip.classList.toggle("silent", Boolean(silent));
  if (!mine && /^https?:\/\//.test(url ?? "")) link.href = url;
  else link.removeAttribute("href");
  const state = silent ? "silent" : count(total, "client");
  link.title = mine ? "You are connected to this node" : `Open node ${name} in a new tab`;
  link.replaceChildren(
    el("span", { class: "lamp", "aria-hidden": "true" }),
    el("span", { class: "hidden" }, "Node "),
    el("b", {}, name),
    el("span", { class: "small" }, mine ? `${state} · you` : state),
  );
}
