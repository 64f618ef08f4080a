// The visitor's name: invented at the first visit, kept for this tab, changed at will.

const KEY = "switchboard-chat-name";

const FIRST = ["Amber", "Brisk", "Calm", "Clever", "Cosy", "Curious", "Gentle", "Golden", "Happy",
  "Jolly", "Keen", "Lucky", "Mellow", "Misty", "Nimble", "Quiet", "Rapid", "Sunny", "Swift", "Witty"];
const SECOND = ["Badger", "Beaver", "Crane", "Dolphin", "Falcon", "Finch", "Fox", "Gecko", "Heron",
  "Ibex", "Lynx", "Marten", "Newt", "Otter", "Owl", "Puffin", "Robin", "Seal", "Stoat", "Wren"];

const any = (words) => words[Math.floor(Math.random() * words.length)];

/** The name of this tab's visitor. */
export function myName() {
  return sessionStorage.getItem(KEY) ?? rememberName(`${any(FIRST)} ${any(SECOND)}`);
}

/** Keeps a name for the next time, and returns it. */
export function rememberName(name) {
  sessionStorage.setItem(KEY, name);
  return name;
}
