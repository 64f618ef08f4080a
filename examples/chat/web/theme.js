// Light or dark: as the system has it, until the visitor chooses.

import { byId } from "./dom.js";

const KEY = "switchboard-chat-theme";
const systemIsDark = matchMedia("(prefers-color-scheme: dark)");

/** Applies the visitor's choice, if there is one, and lets them change it. */
export function startTheme() {
  const root = document.documentElement;
  const chosen = localStorage.getItem(KEY);
  if (chosen) root.dataset.theme = chosen;
  byId("theme").addEventListener("click", () => {
    const now = root.dataset.theme ?? (systemIsDark.matches ? "dark" : "light");
    root.dataset.theme = now === "dark" ? "light" : "dark";
    localStorage.setItem(KEY, root.dataset.theme);
  });
}
