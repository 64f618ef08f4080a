// Makes docs/demo.png: a short talk between visitors of a running demo, as one of them sees it.
// Usage: node screenshot.mjs FILE.png URL URL [URL]   (nodes of one cluster, e.g. of `cargo xtask demo`)

import { startBrowser, Visitor } from "./chat-page.mjs";

const [file, ...urls] = process.argv.slice(2);
if (!file || urls.length < 2) {
  console.error("Usage: node screenshot.mjs FILE.png URL URL [URL]");
  process.exit(2);
}
const [first, second, third = first] = urls;

const browser = await startBrowser();
try {
  const look = { colorScheme: "light", viewport: { width: 1180, height: 830 } };
  const otter = await Visitor.open(browser, first, "Quiet Otter", look);
  const fox = await Visitor.open(browser, second, "Amber Fox");
  const wren = await Visitor.open(browser, third, "Swift Wren");
  const seal = await Visitor.open(browser, second, "Jolly Seal");
  for (const name of ["Amber Fox", "Swift Wren", "Jolly Seal"]) await otter.sees(name);
  await wren.enter("rust");
  await seal.enter("rust");
  await fox.enter("plugins");
  await fox.choose("lobby");
  await wren.choose("lobby");

  const talk = [
    [fox, "Morning! Which node did you land on?"],
    [otter, "The first one. You?"],
    [wren, "Third. So that line went through the transport plugin twice."],
    [otter, "And in order. Can it do pictures?"],
  ];
  for (const [who, line] of talk) {
    await who.say(line);
    await otter.reads(line);
  }
  const picture = { name: "evening.png", mimeType: "image/png", buffer: await drawing(fox.page) };
  await fox.part("file").setInputFiles(picture);
  await otter.part("message-picture").waitFor();
  await fox.say("Pictures travel as bytes, too.");
  await otter.reads("Pictures travel as bytes, too.");
  await otter.pings();
  await wren.part("text").pressSequentially("Nice, I will t");
  await otter.part("typing").filter({ hasText: "Swift Wren" }).waitFor();
  await otter.part("text").hover();
  await otter.page.screenshot({ path: file });
} finally {
  await browser.close();
}

/** A small landscape, so that no picture has to be kept beside this script. */
async function drawing(page) {
  const bytes = await page.evaluate(async () => {
    const canvas = new OffscreenCanvas(420, 120);
    const draw = canvas.getContext("2d");
    const sky = draw.createLinearGradient(0, 0, 0, 120);
    sky.addColorStop(0, "#33508f");
    sky.addColorStop(0.6, "#e79a6f");
    sky.addColorStop(1, "#ffd9a0");
    draw.fillStyle = sky;
    draw.fillRect(0, 0, 420, 120);
    draw.fillStyle = "#fff3d6";
    draw.arc(306, 66, 20, 0, 7);
    draw.fill();
    for (const [color, base, height, step] of [["#8a5b76", 90, 24, 0.013], ["#57405f", 101, 17, 0.019], ["#2c2740", 112, 11, 0.028]]) {
      draw.fillStyle = color;
      draw.beginPath();
      draw.moveTo(0, 120);
      for (let x = 0; x <= 420; x += 4) draw.lineTo(x, base - height * Math.sin(x * step + base) * Math.cos(x * step * 0.6));
      draw.lineTo(420, 120);
      draw.fill();
    }
    const blob = await canvas.convertToBlob({ type: "image/png" });
    return [...new Uint8Array(await blob.arrayBuffer())];
  });
  return Buffer.from(bytes);
}
