// Headers, as fetch has them: names in lower case, values joined by ", " but Set-Cookie.

const NAME = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;

export class Headers {
  #lines = [];

  constructor(init) {
    if (init === undefined || init === null) return;
    if (typeof init !== 'object') throw new TypeError("Failed to construct 'Headers': invalid init");
    for (const pair of typeof init[Symbol.iterator] === 'function' ? init : Object.entries(init)) {
      const [name, value] = pair;
      this.append(name, value);
    }
  }

  append(name, value) {
    this.#lines.push([nameOf(name), valueOf(value)]);
  }

  set(name, value) {
    const key = nameOf(name);
    const at = this.#lines.findIndex(([other]) => other === key);
    this.#lines = this.#lines.filter(([other], index) => other !== key || index === at);
    if (at === -1) this.#lines.push([key, valueOf(value)]);
    else this.#lines[at] = [key, valueOf(value)];
  }

  delete(name) {
    const key = nameOf(name);
    this.#lines = this.#lines.filter(([other]) => other !== key);
  }

  get(name) {
    const key = nameOf(name);
    const values = this.#lines.filter(([other]) => other === key).map(([, value]) => value);
    return values.length > 0 ? values.join(', ') : null;
  }

  getSetCookie() {
    return this.#lines.filter(([name]) => name === 'set-cookie').map(([, value]) => value);
  }

  has(name) {
    const key = nameOf(name);
    return this.#lines.some(([other]) => other === key);
  }

  forEach(callback, receiver) {
    for (const [name, value] of this) callback.call(receiver, value, name, this);
  }

  *entries() {
    for (const name of [...new Set(this.#lines.map(([key]) => key))].sort()) {
      if (name === 'set-cookie') for (const value of this.getSetCookie()) yield [name, value];
      else yield [name, this.get(name)];
    }
  }

  *keys() {
    for (const [name] of this.entries()) yield name;
  }

  *values() {
    for (const [, value] of this.entries()) yield value;
  }

  [Symbol.iterator]() {
    return this.entries();
  }

  get [Symbol.toStringTag]() {
    return 'Headers';
  }
}

function nameOf(name) {
  const text = String(name);
  if (!NAME.test(text)) throw new TypeError(`Header name must be a valid HTTP token ["${text}"]`);
  return text.toLowerCase();
}

function valueOf(value) {
  const text = String(value).replace(/^[\t\n\r ]+|[\t\n\r ]+$/g, '');
  if (/[\0\r\n]/.test(text)) throw new TypeError('Invalid character in header content');
  return text;
}
