// The field at the bottom: writing, sending, and giving pictures by button, paste or drop.

import { byId } from "./dom.js";
import { toPicture } from "./picture.js";

// While somebody writes, the others are told this often.
const TYPING_EVERY_MS = 1_000;
const MAX_HEIGHT_PX = 140;

/** Connects the field with what to do: say(text), show(picture), typing(), fault(error). */
export function startComposer({ say, show, typing, fault }) {
  const form = byId("composer");
  const text = byId("text");
  const file = byId("file");
  let toldAt = -Infinity;

  function fit() {
    text.style.height = "auto";
    text.style.height = `${Math.min(text.scrollHeight, MAX_HEIGHT_PX)}px`;
  }

  async function send() {
    const written = text.value.trim();
    if (!written) return;
    text.value = "";
    fit();
    // What was said ends the typing; the next letter begins it anew.
    toldAt = -Infinity;
    try {
      await say(written);
    } catch (error) {
      text.value ||= written;
      fit();
      fault(error);
    }
  }

  async function give(files) {
    for (const picture of files) {
      try {
        await show(await toPicture(picture));
      } catch (error) {
        fault(error);
      }
    }
  }

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    send();
    text.focus();
  });
  text.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      form.requestSubmit();
    }
  });
  text.addEventListener("input", () => {
    fit();
    if (text.value.trim() && performance.now() - toldAt > TYPING_EVERY_MS) {
      toldAt = performance.now();
      typing();
    }
  });
  byId("attach").addEventListener("click", () => file.click());
  file.addEventListener("change", () => {
    give([...file.files]);
    file.value = "";
  });
  text.addEventListener("paste", (event) => {
    const files = pictures(event.clipboardData);
    if (files.length === 0) return;
    event.preventDefault();
    give(files);
  });
  const talk = form.parentElement;
  talk.addEventListener("dragover", (event) => event.preventDefault());
  talk.addEventListener("drop", (event) => {
    event.preventDefault();
    give(pictures(event.dataTransfer));
  });
}

const pictures = (data) => [...(data?.files ?? [])].filter((file) => file.type.startsWith("image/"));
