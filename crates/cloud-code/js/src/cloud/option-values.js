// What the readers of options share: is it a whole number, which keys has it, how is it shown to its author.

export function isWhole(value, least, most) {
  return Number.isInteger(value) && value >= least && value <= most;
}

/** A text that can be a name or a description: something to read, and nothing that is not. */
export function isText(value, most) {
  return typeof value === 'string' && value !== '' && value.length <= most && !/\p{Cc}/u.test(value);
}

/** An object with these keys and no others, each of which may be missing. */
export function hasOnly(value, known) {
  return isObject(value) && Object.keys(value).every((key) => Object.hasOwn(known, key));
}

export function isObject(value) {
  return value !== null && typeof value === 'object' && !Array.isArray(value);
}

export function shown(value) {
  try {
    return typeof value === 'string' ? `'${value}'` : (JSON.stringify(value) ?? String(value));
  } catch {
    return typeof value;
  }
}

/**
 * Checks options against a table and gives them as plain JSON: dates as ISO texts, what is undefined left out.
 *
 * @param {string} what for messages, such as "job nightly"
 * @param {Record<string, {expected: string, fits: (value: unknown) => boolean}>} known
 * @throws {Error} naming what, key and what is expected
 */
export function checkedOptions(what, options, known) {
  if (!isObject(options)) throw new TypeError(`${what}: the options must be an object; they are ${shown(options)}.`);
  for (const [key, value] of Object.entries(options)) {
    if (!Object.hasOwn(known, key)) {
      throw new Error(`${what}: there is no option ${key}; there are ${Object.keys(known).join(', ')}.`);
    }
    const { expected, fits } = known[key];
    if (value !== undefined && !fits(value)) {
      throw new Error(`${what}: ${key} must be ${expected}; it is ${shown(value)}.`);
    }
  }
  return JSON.parse(JSON.stringify(options));
}

const MAX_NAME_CHARS = 200;

/** @param {string} what a job, a schedule, a workflow, a step */
export function checkName(what, name) {
  if (isText(name, MAX_NAME_CHARS)) return;
  throw new TypeError(
    `The name of ${what} must have 1 to ${MAX_NAME_CHARS} characters, none of them a control character; it is ${shown(name)}.`,
  );
}
