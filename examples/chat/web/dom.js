// Small helpers to build elements. Everything that people typed goes in as text, never as HTML.

/** The element with this id, which index.html has. */
export const byId = (id) => document.getElementById(id);

/** Makes an element: `el("li", { class: "x", "data-testid": "y" }, "text", otherElement)`. */
export function el(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === true) element.setAttribute(name, "");
    else if (value !== false && value != null) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child != null && child !== false));
  return element;
}

/** "1 client", "3 clients". */
export const count = (number, thing) => `${number} ${thing}${number === 1 ? "" : "s"}`;

/**
 * A node's hue in degrees, from its name alone, so that it is the same in every tab. The golden
 * angle keeps names that follow each other (a, b, c) far apart.
 */
function hueOf(nodeName) {
  let hash = 0;
  for (const char of nodeName) hash = (hash * 31 + char.codePointAt(0)) % 100_003;
  return Math.round((hash * 137.508 + 30) % 360);
}

/** Gives an element its node's colour. */
export function paint(element, nodeName) {
  element.style.setProperty("--hue", hueOf(nodeName));
  return element;
}

/** A small coloured label with a node's name. */
export const nodeTag = (name, attributes = {}) =>
  paint(el("span", { class: "tag", ...attributes }, name), name);
