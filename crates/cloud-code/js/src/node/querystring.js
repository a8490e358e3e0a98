// node:querystring.

export function escape(text) {
  return encodeURIComponent(text);
}

export function unescape(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

export function stringify(object, separator, equals, options) {
  const join = separator || '&';
  const is = equals || '=';
  const encode = options?.encodeURIComponent ?? escape;
  const pairs = [];
  for (const [key, value] of Object.entries(object ?? {})) {
    for (const item of Array.isArray(value) ? value : [value]) {
      pairs.push(encode(key) + is + encode(primitive(item)));
    }
  }
  return pairs.join(typeof join === 'string' ? join : '&');
}

function primitive(value) {
  const isPrinted = ['string', 'boolean', 'bigint'].includes(typeof value) || Number.isFinite(value);
  return isPrinted ? String(value) : '';
}

const MAX_KEYS = 1000;

export function parse(text, separator, equals, options) {
  const result = Object.create(null);
  if (typeof text !== 'string' || text === '') return result;
  const decode = options?.decodeURIComponent ?? unescape;
  const limit = options?.maxKeys ?? MAX_KEYS;
  const pairs = text.split(separator || '&');
  for (const pair of limit > 0 ? pairs.slice(0, limit) : pairs) {
    if (pair !== '') addPair(result, pair.replaceAll('+', ' '), equals || '=', decode);
  }
  return result;
}

function addPair(result, pair, equals, decode) {
  const at = pair.indexOf(equals);
  const key = decode(at === -1 ? pair : pair.slice(0, at));
  const value = at === -1 ? '' : decode(pair.slice(at + equals.length));
  if (!(key in result)) result[key] = value;
  else if (Array.isArray(result[key])) result[key].push(value);
  else result[key] = [result[key], value];
}

export default { escape, unescape, stringify, parse, encode: stringify, decode: parse };
