// A stand-in for QuickJS and its host: a bare V8 context with the globals that QuickJS has, and a fake __native.

import { createHook } from 'node:async_hooks';
import crypto from 'node:crypto';
import { readFileSync } from 'node:fs';
import vm from 'node:vm';
import { transformSync } from 'esbuild';
import { appScript } from '../build/bundle-project.mjs';
import { LOWERED, TARGET } from '../build/engine.mjs';

const runtimeScript = new vm.Script(readFileSync(new URL('../dist/runtime.js', import.meta.url), 'utf8'), {
  filename: 'runtime.js',
});

const ENGINE_GLOBALS = `
  globalThis.queueMicrotask = (callback) => void Promise.resolve().then(callback);
  Uint8Array.prototype.toBase64 = function (options) { return __toBase64(this, options); };
  Uint8Array.prototype.toHex = function () { return Array.from(this, (b) => b.toString(16).padStart(2, '0')).join(''); };
  delete globalThis.Intl; delete globalThis.WebAssembly; delete globalThis.console;
`;

const config = { serverUrl: 'http://localhost:1337/parse', applicationId: 'app', javascriptKey: 'js-key' };

/** Scopes of every isolate made: as the host does it, each is emptied before a job runs. */
const scopes = new Set();
createHook({
  init() {},
  before() {
    for (const scope of scopes) scope.current = null;
  },
}).enable();

function bytesOf(value) {
  return ArrayBuffer.isView(value)
    ? new Uint8Array(value.buffer, value.byteOffset, value.byteLength)
    : new Uint8Array(value);
}

/**
 * One isolate under test.
 * `answer(request, runId)` plays the server: it returns what the host's `answer` carries, or throws
 * `{code, message}`; calls wait for it when it returns a promise.
 */
export class Isolate {
  logs = [];
  calls = [];
  timers = new Map();
  #outcomes = new Map();
  #waiting = new Map();
  #lastRun = 0;

  constructor({ answer = () => ({ status: 200, body: {}, headers: [] }), settings = config, now = () => performance.now() } = {}) {
    this.answer = answer;
    this.context = vm.createContext({
      DOMException,
      atob,
      btoa,
      performance: { now: () => performance.now(), timeOrigin: 0 },
    });
    this.context.__toBase64 = (bytes, options) => {
      const text = Buffer.from(bytes).toString(options?.alphabet === 'base64url' ? 'base64url' : 'base64');
      return options?.omitPadding ? text.replace(/=+$/, '') : text;
    };
    vm.runInContext(ENGINE_GLOBALS, this.context);
    this.context.__native = this.#native(settings, now);
    runtimeScript.runInContext(this.context);
    this.runtime = this.context.__runtime;
    scopes.add(this.runtime.scope);
  }

  /** The app, from source text, rewritten as the bundler does it. */
  load(source, { module = false } = {}) {
    const lowered = transformSync(source, {
      target: TARGET,
      supported: LOWERED,
      format: module ? 'esm' : undefined,
    });
    const { code } = appScript(lowered.code, null, module);
    const started = new vm.Script(code, { filename: 'app.js' }).runInContext(this.context);
    this.runtime.scope.current = null;
    return started;
  }

  manifest() {
    return JSON.parse(this.runtime.manifest());
  }

  /** @returns {Promise<object>} the outcome */
  run(handler, request = {}) {
    const id = ++this.#lastRun;
    const outcome = new Promise((resolve) => this.#outcomes.set(id, resolve));
    this.#enter(() => this.runtime.run(id, JSON.stringify(handler), requestText(handler, request)));
    return outcome;
  }

  call(name, params = {}, rest = {}) {
    return this.run(
      { function: name },
      { functionName: name, params, master: false, headers: {}, ip: '127.0.0.1', ...rest },
    );
  }

  trigger(kind, className, request = {}) {
    const common = { triggerName: kind, className, master: false, headers: {}, ip: '127.0.0.1' };
    return this.run({ trigger: { kind, class: className } }, { ...common, ...request });
  }

  fireTimers() {
    for (const id of [...this.timers.keys()].sort((a, b) => this.timers.get(a).ms - this.timers.get(b).ms)) {
      if (!this.timers.delete(id)) continue;
      this.#enter(() => this.runtime.fireTimer(id));
    }
  }

  /** Lets every promise that can settle do so. */
  async settle() {
    for (let turn = 0; turn < 5; turn += 1) await new Promise((resolve) => setImmediate(resolve));
  }

  #enter(entry) {
    try {
      return entry();
    } finally {
      this.runtime.scope.current = null;
    }
  }

  #native(settings, now) {
    return {
      config: JSON.stringify(settings),
      call: (runId, callId, json) => this.#call(runId, callId, JSON.parse(json)),
      log: (runId, level, text) => this.logs.push({ runId, level, text }),
      done: (runId, json) => this.#outcomes.get(runId)?.(JSON.parse(json)),
      setTimer: (id, ms, runId) => this.timers.set(id, { ms, runId }),
      clearTimer: (id) => this.timers.delete(id),
      now,
      random: (count) => this.#own(crypto.randomBytes(count)),
      digest: (hash, data) => this.#own(crypto.createHash(hash).update(bytesOf(data)).digest()),
      hmac: (hash, key, data) =>
        this.#own(crypto.createHmac(hash, bytesOf(key)).update(bytesOf(data)).digest()),
      timingSafeEqual: (a, b) => Buffer.compare(bytesOf(a), bytesOf(b)) === 0,
      utf8Encode: (text) => this.#own(Buffer.from(text.toWellFormed())),
      utf8Decode: (bytes, fatal) =>
        new TextDecoder('utf-8', { fatal, ignoreBOM: true }).decode(bytesOf(bytes)),
      base64Encode: (bytes) => Buffer.from(bytesOf(bytes)).toString('base64'),
      base64Decode: (text) => this.#own(Buffer.from(text, 'base64')),
    };
  }

  /** Bytes as an ArrayBuffer of the context's own realm. */
  #own(bytes) {
    const buffer = vm.runInContext('(length) => new ArrayBuffer(length)', this.context)(bytes.length);
    new Uint8Array(buffer).set(bytes);
    return buffer;
  }

  async #call(runId, callId, request) {
    this.calls.push({ runId, ...request });
    if (request.kind === 'abort') return;
    let ok = true;
    let body;
    try {
      body = await this.answer(request, runId);
    } catch (refusal) {
      ok = false;
      body = refusal instanceof Error ? { code: 1, message: refusal.message } : refusal;
    }
    await new Promise((resolve) => setImmediate(resolve));
    this.#enter(() => this.runtime.answer(callId, ok, JSON.stringify(body)));
  }
}

/** As the host writes it (`request_text.rs`): lines for after-triggers, one JSON for all others. */
function requestText({ trigger }, request) {
  if (trigger?.kind !== 'afterSave' && trigger?.kind !== 'afterDelete') return JSON.stringify(request);
  const { className, existed, commitTimeMs, object, original, ops, user, ...plain } = request;
  const about = { className, existed: existed ?? Boolean(original), commitTimeMs };
  const flags = (original ? 1 : 0) + (user ? 2 : 0);
  const lines = [plain, about, object, original, ops, user].map((part) => JSON.stringify(part ?? null));
  return `${lines.join('\n')}\n${flags}`;
}

/** A promise and its two ends, for tests that decide the order of answers. */
export function gate() {
  return Promise.withResolvers?.() ?? manualGate();
}

function manualGate() {
  const ends = {};
  ends.promise = new Promise((resolve, reject) => Object.assign(ends, { resolve, reject }));
  return ends;
}
