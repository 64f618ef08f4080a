// The transport of the cluster: a menu that moves all nodes to another one, and a line that shows
// where each of them stands while they go.

import { byId, el, paint } from "./dom.js";

// What each phase means to people; a node at rest needs no words.
const PHASES = {
  opening: "opens it",
  hearing: "listens for the others",
  ready: "is ready",
  moving: "follows",
  leaving: "sends its last messages",
  draining: "takes the last messages",
};

// A switch can be over before anybody has seen it.
const SHOWN_FOR_MS = 2_500;

/** `switchTo(name)` does it; `nameOf(id)` is a node's name; `tell(text)` and `fault(error)` are for the log. */
export function startTransport({ socket, switchTo, nameOf, tell, fault }) {
  const menu = byId("transport");
  const progress = byId("switch-progress");
  /** By node: what it said last. */
  const standings = new Map();
  let myNode = null;
  let busyAt = -Infinity;

  function draw() {
    const mine = standings.get(myNode);
    menu.hidden = !mine || mine.choices.length < 2;
    if (!mine) return;
    const names = mine.choices.includes(mine.on) ? mine.choices : [mine.on, ...mine.choices];
    if (names.join() !== [...menu.options].map((option) => option.value).join()) {
      menu.replaceChildren(...names.map((name) => el("option", { value: name }, name)));
    }
    const busy = [...standings.values()].filter(({ phase }) => phase !== "idle");
    menu.disabled = busy.length > 0;
    if (!menu.disabled) menu.value = mine.on;
    if (busy.length > 0) show();
    const shown = performance.now() - busyAt < SHOWN_FOR_MS ? [...standings.values()] : [];
    progress.replaceChildren(...shown.map(({ node, on, phase }) =>
      paint(el("span", { class: "tag" }, `${nameOf(node)}: ${on} ${PHASES[phase] ?? ""}`), nameOf(node))));
  }

  function show() {
    busyAt = performance.now();
    setTimeout(draw, SHOWN_FOR_MS + 50);
  }

  socket.on("welcome", ({ node }) => {
    myNode = node.id;
    standings.clear();
    draw();
  });
  socket.on("transport", (standing) => {
    standings.set(standing.node, standing);
    draw();
  });
  socket.on("node-gone", ({ id }) => {
    standings.delete(id);
    draw();
  });

  menu.addEventListener("change", async () => {
    menu.disabled = true;
    try {
      const { switched } = await switchTo(menu.value);
      show();
      tell(`All nodes went from ${switched.from} to ${switched.to} in ${switched.took_ms} ms.`);
    } catch (error) {
      fault(error);
    }
    draw();
  });
}
