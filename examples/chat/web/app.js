// The page's start: makes the parts and connects them. Which room is open and which are joined is
// kept here; everything else is in the part that draws it.

import { Cluster } from "./cluster.js";
import { startComposer } from "./composer.js";
import { openConnection } from "./connection.js";
import { byId, paint } from "./dom.js";
import { Messages } from "./messages.js";
import { drawPeople, drawRoomPeople, drawRooms } from "./people.js";
import { startTheme } from "./theme.js";
import { startTransport } from "./transport.js";
import { myName, rememberName } from "./visitor.js";

startTheme();
const status = byId("status");
const connection = await openConnection(() => ({ name: myName() })).catch((error) => {
  status.textContent = error.message;
  throw error;
});
const { socket } = connection;
const cluster = new Cluster(socket);
const messages = new Messages();
const unread = new Map();
const joined = new Set();
let current = "lobby";
let me = null;

// ---- Drawing

function draw() {
  const { nodes, visitors, myNode } = cluster;
  drawRooms({ visitors, joined, current, unread, open: openRoom });
  drawPeople({ nodes, me, myNode, current });
  drawRoomPeople({ visitors, current });
}

function setOnline(online) {
  document.body.classList.toggle("offline", !online);
  byId("send").disabled = byId("ping").disabled = byId("attach").disabled = !online;
  status.textContent = online ? "" : "The connection is lost. Connecting again…";
}

const fault = (error) => messages.fault(error.message);

/** Runs what a click started; what goes wrong is shown in the log. */
const attempt = (action) => action().catch(fault);

// ---- Rooms

function showRoom(room) {
  current = room;
  unread.delete(room);
  byId("room-title").textContent = `# ${room}`;
  byId("leave").hidden = room === "lobby";
  byId("text").placeholder = room === "lobby" ? "Message the lobby" : `Message # ${room}`;
  messages.open(room);
  draw();
}

const openRoom = (room) => attempt(async () => {
  if (!joined.has(room)) {
    await connection.join(room);
    joined.add(room);
  }
  showRoom(room);
  byId("text").focus();
});

const leaveRoom = () => attempt(async () => {
  const room = current;
  await connection.leave(room);
  joined.delete(room);
  messages.drop(room);
  showRoom("lobby");
});

// ---- From the server

socket.on("welcome", (welcome) => attempt(async () => {
  me = welcome.you;
  byId("my-node").textContent = welcome.node.name;
  paint(byId("my-node"), welcome.node.name);
  document.title = `Switchboard chat · ${welcome.node.name}`;
  // The server knows nothing of an earlier connection.
  const before = [...joined].filter((room) => room !== welcome.room);
  joined.clear();
  joined.add(welcome.room);
  for (const room of before) {
    await connection.join(room);
    joined.add(room);
  }
  setOnline(true);
  showRoom(joined.has(current) ? current : welcome.room);
}));

function receive(message) {
  cluster.blink(message.node.id);
  if (!joined.has(message.room)) return;
  messages.add(message, message.from === me);
  if (message.room !== current) {
    unread.set(message.room, (unread.get(message.room) ?? 0) + 1);
    draw();
  }
}

socket.on("said", receive);
socket.on("shown", receive);
socket.on("typing", (typing) => messages.showTyping(typing));
socket.on("are-you-there", (...data) => data.at(-1)({ node: cluster.myNode }));
socket.on("disconnect", (reason) => {
  setOnline(false);
  // After this one alone the client does not come back by itself.
  if (reason === "io server disconnect") socket.connect();
});
socket.on("connect_error", () => setOnline(false));

cluster.addEventListener("change", draw);
cluster.addEventListener("node", ({ detail: { what, node } }) => messages.notice(`${what} the cluster`, node.name));

// ---- From the visitor

startComposer({
  say: (text) => connection.say(current, text),
  show: (picture) => connection.show(current, picture),
  typing: () => connection.typing(current),
  fault,
});

startTransport({
  socket,
  switchTo: connection.switchTo,
  nameOf: (id) => cluster.nameOf(id),
  tell: (text) => messages.notice(text, me === null ? "" : cluster.nameOf(cluster.myNode)),
  fault,
});

byId("ping").addEventListener("click", () => attempt(async () => {
  const report = await connection.pingEveryone();
  messages.report(report, (id) => cluster.nameOf(id));
  for (const id of Object.keys(report.nodes)) cluster.blink(id);
}));

byId("new-room").addEventListener("submit", (event) => {
  event.preventDefault();
  const field = byId("room-name");
  const room = field.value.trim().toLowerCase().replace(/[^a-z0-9-]+/g, "-").replace(/^-+|-+$/g, "");
  if (!room) return;
  field.value = "";
  openRoom(room);
});

byId("leave").addEventListener("click", leaveRoom);

// Where there is no room for the list of people, this button shows it.
byId("show-people").addEventListener("click", () => {
  const shown = document.body.classList.toggle("show-people");
  byId("show-people").setAttribute("aria-expanded", String(shown));
});

const nameField = byId("my-name");
nameField.value = myName();
const rename = () => attempt(async () => {
  const name = nameField.value.trim();
  if (!name) nameField.value = myName();
  else if (name !== myName()) await connection.rename(rememberName(name));
});
nameField.addEventListener("change", rename);
byId("me").addEventListener("submit", (event) => {
  event.preventDefault();
  nameField.blur();
});

socket.connect();
