// The two lists beside the talk: the rooms with their numbers, and the people by node.

import { byId, count, el, nodeTag } from "./dom.js";

/** Draws the rooms. `unread` is a Map from room to the number of unread messages. */
export function drawRooms({ visitors, joined, current, unread, open }) {
  const people = new Map([...joined].map((room) => [room, 0]));
  for (const { rooms } of visitors) {
    for (const room of rooms) people.set(room, (people.get(room) ?? 0) + 1);
  }
  const names = [...people.keys()].sort((a, b) => (b === "lobby") - (a === "lobby") || a.localeCompare(b));
  keepFocus(byId("rooms"), names.map((room) => {
    const isIn = joined.has(room);
    const waiting = unread.get(room) ?? 0;
    const button = el("button", {
      type: "button",
      class: isIn ? "room" : "room outside",
      "aria-current": room === current ? "true" : null,
      "data-testid": `room-${room}`,
    },
    el("span", { class: "hash", "aria-hidden": "true" }, "#"),
    el("span", { class: "room-name" }, room),
    waiting > 0 && el("span", { class: "badge" }, String(waiting), el("span", { class: "hidden" }, " unread")),
    el("span", { class: "small" }, isIn ? String(people.get(room)) : "join", el("span", { class: "hidden" }, isIn ? " people" : " this room")));
    button.addEventListener("click", () => open(room));
    return el("li", {}, button);
  }));
}

/** Draws the people of all rooms, by node. */
export function drawPeople({ nodes, me, myNode, current }) {
  byId("people-count").textContent = String(nodes.reduce((sum, node) => sum + node.total, 0));
  byId("people").replaceChildren(...nodes.map((node) => {
    const unnamed = node.total - node.visitors.length;
    return el("section", { "data-testid": `people-${node.name}`, class: node.silent ? "silent" : null },
      el("h3", {}, nodeTag(node.name), el("span", { class: "small" }, note(node, myNode))),
      el("ul", {}, ...node.visitors.map((visitor) => drawPerson(visitor, node, me, current)),
        unnamed > 0 && el("li", { class: "small" }, `and ${unnamed} more`)));
  }));
}

function note({ id, total }, myNode) {
  if (id === myNode) return "your node";
  return total === 0 ? "nobody yet" : "";
}

function drawPerson(visitor, node, me, current) {
  const here = visitor.rooms.includes(current);
  return el("li", { class: here ? "person" : "person elsewhere", title: here ? null : `Not in # ${current}` },
    avatar(visitor.name, node.name), el("span", { class: "person-name" }, visitor.name),
    visitor.id === me && el("span", { class: "small" }, "you"));
}

/** Draws the line under the room's title. */
export function drawRoomPeople({ visitors, current }) {
  const here = visitors.filter(({ rooms }) => rooms.includes(current));
  const nodes = new Set(here.map(({ node }) => node.id));
  byId("room-people").textContent =
    `${count(here.length, "person").replace("persons", "people")} on ${count(nodes.size, "node")}`;
}

/** A round picture of a name: its initials in its node's colour. */
export function avatar(name, nodeName) {
  const words = name.trim().split(/\s+/);
  const initials = [words[0], words.length > 1 ? words.at(-1) : ""].map((word) => [...word][0] ?? "").join("");
  const round = nodeTag(nodeName, { class: "avatar", "aria-hidden": "true" });
  round.textContent = initials.toUpperCase();
  return round;
}

/** Replaces a list's items; the button that had the keyboard's focus keeps it. */
function keepFocus(list, items) {
  const focused = list.contains(document.activeElement) ? document.activeElement.dataset.testid : null;
  list.replaceChildren(...items);
  if (focused) list.querySelector(`[data-testid="${CSS.escape(focused)}"]`)?.focus();
}
