// The command line of the Node.js programs of the tests: `--name value` pairs and bare flags.

/**
 * Reads the command line. `known` says for each name what it is when it is not given, and so of what
 * kind it is: `false` is a bare flag, a number is a number, an object is JSON, anything else text
 * (`undefined`: text that may be missing). A list says which texts there are, the first when it is
 * not given. Exits with the usage when the line is wrong.
 */
export function readOptions(usage, known, line = process.argv.slice(2)) {
  const options = Object.fromEntries(
    Object.entries(known).map(([name, value]) => [name, Array.isArray(value) ? value[0] : value]),
  );
  try {
    for (let at = 0; at < line.length; at++) {
      const name = line[at].replace(/^--/, "");
      if (name === line[at] || !Object.hasOwn(known, name)) throw new Error(`unknown argument ${line[at]}`);
      if (known[name] === false) {
        options[name] = true;
        continue;
      }
      at += 1;
      if (at === line.length) throw new Error(`--${name} takes a value`);
      options[name] = read(name, known[name], line[at]);
    }
  } catch (error) {
    process.stderr.write(`${error.message}\n${usage}\n`);
    process.exit(2);
  }
  return options;
}

function read(name, known, text) {
  if (Array.isArray(known)) {
    if (!known.includes(text)) throw new Error(`--${name} is one of ${known.join(", ")}, not ${text}`);
    return text;
  }
  if (typeof known === "number") {
    if (!/^\d+$/.test(text)) throw new Error(`--${name} takes a number, not ${text}`);
    return Number(text);
  }
  if (known !== null && typeof known === "object") {
    const value = JSON.parse(text);
    if (value === null || typeof value !== "object") throw new Error(`--${name} takes a JSON object, not ${text}`);
    return value;
  }
  return text;
}
