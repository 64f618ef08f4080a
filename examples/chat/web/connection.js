// The connection to this page's server: Socket.IO's client, made a little safer to use. It knows
// which events there are to send; what comes in, the other scripts take from `socket`.

const ANSWER_TIMEOUT_MS = 8_000;
// All servers take part in it, and each may take its time.
const SWITCH_TIMEOUT_MS = 60_000;

/** Loads Socket.IO's official client, or throws an error that says what to do. */
async function loadClient() {
  try {
    return await import("./socket.io.js");
  } catch {
    // The server's answer says what to type.
    const answer = await fetch("socket.io.js").then((response) => response.text(), String);
    throw new Error(`Socket.IO's client could not be loaded. ${answer}`);
  }
}

/** Connects as soon as `socket.connect()` is called. `hello()` gives what the server is told first. */
export async function openConnection(hello) {
  const { io } = await loadClient();
  const socket = io({ autoConnect: false, transports: ["websocket", "polling"], auth: (tell) => tell(hello()) });

  /** Sends an event and waits for its answer; throws what the server refuses. */
  const ask = (event, ...data) => askFor(ANSWER_TIMEOUT_MS, event, ...data);

  async function askFor(time, event, ...data) {
    let answer;
    try {
      answer = await socket.timeout(time).emitWithAck(event, ...data);
    } catch {
      throw new Error("The server does not answer. Try again in a moment.");
    }
    if (answer.error) throw new Error(`Not done: ${answer.error}.`);
    return answer;
  }

  return {
    socket,
    rename: (name) => ask("rename", name),
    join: (room) => ask("join", room),
    leave: (room) => ask("leave", room),
    say: (room, text) => ask("say", { room, text }),
    show: (room, picture) => ask("show", { room, picture }),
    pingEveryone: () => ask("ping-everyone"),
    switchTo: (to) => askFor(SWITCH_TIMEOUT_MS, "switch", { to }),
    typing: (room) => socket.volatile.emit("typing", room),
  };
}
