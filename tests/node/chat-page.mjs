// The chat demo as a person sees it, in headless Chromium: opening it, finding its parts, and doing
// what a person does there. What should come of it is for those who use this.

import { existsSync } from "node:fs";
import { chromium } from "playwright-core";

// Where Debian, other distributions, Chrome's own packages and Snap put it.
const CHROMIUMS = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome", "/snap/bin/chromium"];
// Chromium's own sandbox cannot start as root, as in containers; the rest keeps it off the network.
const ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-dev-shm-usage",
  "--disable-background-networking", "--disable-component-update", "--disable-sync"];
/** The limit of a broken machine, not of a slow one. */
const PATIENCE_MS = 60_000;
/** How often somebody types another letter until others have seen that they type. */
const TYPE_EVERY_MS = 1_200;

/** Starts the browser: SWITCHBOARD_TEST_CHROMIUM, or the one that is installed. */
export async function startBrowser() {
  const wanted = process.env.SWITCHBOARD_TEST_CHROMIUM;
  const executablePath = wanted ?? CHROMIUMS.find((path) => existsSync(path));
  if (!executablePath) {
    throw new Error("there is no Chromium; install it: sudo apt-get install chromium (or set SWITCHBOARD_TEST_CHROMIUM)");
  }
  return chromium.launch({ executablePath, args: ARGUMENTS, headless: true, timeout: PATIENCE_MS });
}

/** One visitor in a tab of their own. Every method waits until its effect can be seen. */
export class Visitor {
  constructor(page) {
    this.page = page;
    this.faults = [];
    // A fault in the page's scripts must not pass for slowness.
    page.on("pageerror", (error) => this.faults.push(String(error.stack ?? error)));
  }

  /** Opens the page of a node, and takes a name as soon as it is connected. */
  static async open(browser, url, name, look = {}) {
    const context = await browser.newContext({ viewport: { width: 1180, height: 760 }, ...look });
    context.setDefaultTimeout(PATIENCE_MS);
    const visitor = new Visitor(await context.newPage());
    await visitor.page.goto(url);
    await visitor.part("send").and(visitor.page.locator(":enabled")).waitFor();
    await visitor.rename(name);
    return visitor;
  }

  /** The part of the page with this data-testid. */
  part(id) {
    return this.page.getByTestId(id);
  }

  async rename(name) {
    await this.part("my-name").fill(name);
    await this.part("my-name").press("Enter");
    await this.sees(name);
  }

  /** Waits for a name in the list of people, on a certain node if one is given. */
  async sees(name, node) {
    await this.part(node ? `people-${node}` : "people").getByText(name, { exact: true }).waitFor();
  }

  /** Waits until a name is not in the list of people any more. */
  async seesNoMore(name) {
    await this.part("people").getByText(name, { exact: true }).waitFor({ state: "detached" });
  }

  /** Waits until the strip shows exactly these nodes. */
  async seesNodes(...names) {
    await this.page.waitForFunction(
      (wanted) => [...document.querySelectorAll("[data-testid=node]")].map((node) => node.dataset.node).join() === wanted,
      names.join(),
    );
  }

  /** Says something, and waits until it has come back from the server. */
  async say(text) {
    await this.part("text").fill(text);
    await this.part("text").press("Enter");
    await this.reads(text);
  }

  /** Waits for a message with this text; returns who sent it from which node. */
  async reads(text) {
    const message = this.part("message").filter({ has: this.page.getByText(text, { exact: true }) });
    await message.waitFor();
    return { from: await message.getAttribute("data-from"), node: await message.getAttribute("data-node") };
  }

  /** The texts in the open room, in order. */
  texts() {
    return this.part("message-text").allTextContents();
  }

  /** Types on until the other one is told so. */
  async typesUntilSeenBy(other, name) {
    const seen = other.part("typing").filter({ hasText: name }).waitFor().then(() => true);
    const next = () => new Promise((resolve) => setTimeout(resolve, TYPE_EVERY_MS, false));
    do {
      await this.part("text").pressSequentially("x");
    } while (!(await Promise.race([seen, next()])));
    await this.part("text").fill("");
  }

  /** Makes a room, or joins one that there is. */
  async enter(room) {
    await this.part("room-name").fill(room);
    await this.part("room-name").press("Enter");
    await this.isIn(room);
  }

  /** Opens a room that is in the list, and so joins it. */
  async choose(room) {
    await this.part(`room-${room}`).click();
    await this.isIn(room);
  }

  async leave() {
    await this.part("leave").click();
    await this.isIn("lobby");
  }

  async isIn(room) {
    await this.page.waitForFunction(
      (title) => document.querySelector("[data-testid=room-title]").textContent === title,
      `# ${room}`,
    );
  }

  /** Sends a picture that nobody has seen before; returns its size and the digest of its pixels. */
  async givesPicture(width, height) {
    const { png, ...picture } = await this.page.evaluate(drawNoise, { width, height });
    const buffer = Buffer.from(png, "base64");
    await this.part("file").setInputFiles({ name: "picture.png", mimeType: "image/png", buffer });
    return picture;
  }

  /** Waits for a picture; returns the same of what is shown. */
  async seesPicture() {
    const image = this.part("message-picture");
    await image.waitFor();
    return image.evaluate(measure);
  }

  /** Pings everyone; returns the line of the report, and the numbers by node. */
  async pings() {
    await this.part("ping").click();
    const report = this.part("report").last();
    await report.waitFor();
    const nodes = await report.locator("li").evaluateAll((lines) => lines.map((line) => line.firstChild.textContent + line.childNodes[1].textContent));
    return { summary: await report.locator("b").textContent(), nodes };
  }

  /** What the menu of transports offers, when it is there. */
  async canMoveTo() {
    await this.part("transport").waitFor();
    return this.part("transport").locator("option").allTextContents();
  }

  /** Moves all nodes to another transport; returns what the log says of it. */
  async movesAllTo(name) {
    await this.part("transport").selectOption(name);
    const notice = this.part("notice").filter({ hasText: `to ${name} in` });
    await notice.waitFor();
    return notice.textContent();
  }

  /** The same where it does not work; returns what the log says of that. */
  async failsToMoveTo(name) {
    await this.part("transport").selectOption(name);
    await this.part("fault").waitFor();
    return this.part("fault").textContent();
  }

  /** Waits until the menu shows that this visitor's node is at rest on a transport. */
  async isOn(name) {
    await this.page.waitForFunction((wanted) => {
      const menu = document.querySelector("[data-testid=transport]");
      return menu.value === wanted && !menu.disabled;
    }, name);
  }

  /** Waits until the page has shown for each of these nodes where it stands. */
  async seesStanding(...nodes) {
    for (const node of nodes) await this.part("switch-progress").getByText(`${node}: `).first().waitFor();
  }

  /** Waits until the page says that it has lost its node. */
  async isCutOff() {
    await this.part("status").filter({ hasText: "connection is lost" }).waitFor();
  }
}

// ---- What follows runs in the page.

async function drawNoise({ width, height }) {
  const canvas = new OffscreenCanvas(width, height);
  const draw = canvas.getContext("2d");
  const picture = draw.createImageData(width, height);
  for (let at = 0; at < picture.data.length; at += 1) {
    picture.data[at] = at % 4 === 3 ? 255 : Math.floor(Math.random() * 256);
  }
  draw.putImageData(picture, 0, 0);
  const bytes = new Uint8Array(await (await canvas.convertToBlob({ type: "image/png" })).arrayBuffer());
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", picture.data));
  let png = "";
  for (const byte of bytes) png += String.fromCharCode(byte);
  return { width, height, digest: digest.join(), png: btoa(png) };
}

async function measure(image) {
  await image.decode();
  const { naturalWidth: width, naturalHeight: height } = image;
  const draw = new OffscreenCanvas(width, height).getContext("2d");
  draw.drawImage(image, 0, 0);
  const digest = await crypto.subtle.digest("SHA-256", draw.getImageData(0, 0, width, height).data);
  return { width, height, digest: new Uint8Array(digest).join() };
}
