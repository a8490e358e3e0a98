// Whether an afterSave handler can look at `request.original`: only then must Postgres log whole old rows, which
// costs every update of the table. Decided from the texts of the handler and of the project's script.
//
// Not to be sure is to need it. `false` is only said when the script mentions `original` nowhere, or when the
// handler does nothing with its request but look at members by other names. The request's other members do not
// depend on the old row (`dirty()` and its kin speak of the request's operations, `existed()` of the kind of change).

const textOf = Function.prototype.toString;

const NAME = String.raw`[\w$]+`;
const PARAMETERS = String.raw`\(\s*([^()]*?)\s*\)`;
const HEADS = [
  new RegExp(String.raw`^(?:async\s*)?${PARAMETERS}\s*=>`),
  new RegExp(String.raw`^(?:async\s+)?(${NAME})\s*=>`),
  new RegExp(String.raw`^(?:async\s+)?(?:function\s*)?\*?\s*(?:${NAME})?\s*${PARAMETERS}\s*\{`),
];

/** Of the parameters the first, a pattern or a name; the others, if any, are names. */
const FIRST = new RegExp(String.raw`^(?:(\{[^{}]*\})|(${NAME}))(?:\s*,\s*${NAME})*$`);

/** `{ object, user: who }`, whole or at the end of `const { object, user: who } = `. */
const NAMES = String.raw`\{([\w$\s,:]*)\}`;
const ONLY_NAMES = new RegExp(`^${NAMES}$`);
const TAKES_NAMES = new RegExp(String.raw`(?:^|[\s;{}])(?:const|let|var)\s*${NAMES}\s*=\s*$`);

/** By these a function sees its arguments, or hides a name from this search. */
const EVASIONS = /\barguments\b|\beval\b|\\u|\[native code\]/;

/**
 * @param {Function[]} functions the handler, and the functions that see its request before it
 * @param {() => boolean} isMentioned whether the project's script mentions `original`
 */
export function needsOriginal(functions, isMentioned) {
  return !functions.every(certainlyDoesNot) && isMentioned();
}

export function mentionsOriginal(text) {
  return /(?<![\w$])original(?![\w$])/.test(text);
}

/** True when no run of `handler` can reach `original` through its argument. */
export function certainlyDoesNot(handler) {
  const text = textOf.call(handler);
  if (EVASIONS.test(text)) return false;
  const head = HEADS.map((form) => form.exec(text)).find((found) => found !== null);
  if (!head) return false;
  if (head[1] === '') return true;
  const [, pattern, name] = FIRST.exec(head[1]) ?? [];
  if (name !== undefined) return usesOthers(name, text, head[0].length);
  return pattern !== undefined && takesOthers(ONLY_NAMES.exec(pattern));
}

/** True for a pattern of plain names none of which is `original`. */
function takesOthers(pattern) {
  return pattern !== null && !pattern[1].split(',').some((name) => name.split(':')[0].trim() === 'original');
}

/** True when all that is done with the parameter is to look at members by names other than `original`. */
function usesOthers(name, text, from) {
  const escaped = name.replaceAll('$', '\\$');
  // A name right after a dot is another's member; after three dots it is not.
  const uses = new RegExp(String.raw`(?<![\w$])(?<!(?<!\.\.)\.)${escaped}(?![\w$])`, 'g');
  uses.lastIndex = from;
  for (let use = uses.exec(text); use !== null; use = uses.exec(text)) {
    const after = text.slice(use.index + name.length);
    if (looksAtOther(after)) continue;
    const pattern = TAKES_NAMES.exec(text.slice(0, use.index));
    if (!takesOthers(pattern) || !after.trimStart().startsWith(';')) return false;
  }
  return true;
}

/** `.name`, and no assignment of a function that would be called with the request as `this`. */
function looksAtOther(after) {
  const member = /^\s*\??\.([\w$]+)(\s*(?:\?\?|\|\||&&)?=(?![=>]))?/.exec(after);
  return member !== null && member[1] !== 'original' && (member[2] === undefined || member[1] === 'context');
}
