// Starts and ends the two servers that are compared.

import { spawn } from 'node:child_process';
import { openSync, readFileSync } from 'node:fs';
import { request } from 'node:http';
import { createServer } from 'node:net';
import { once } from 'node:events';

import { bench, databaseUrl, redisUrl, sleep } from './modules.mjs';

const START_TIMEOUT_MS = 60_000;
const STOP_TIMEOUT_MS = 40_000;

const running = new Set();

/**
 * Tidegate, with all roles in one process unless `roles` names some. `settings`: what a measurement needs to be other
 * than the user chose.
 */
export async function startTidegate(settings = {}, roles = undefined) {
  const port = await freePort();
  const chosen = process.env.BENCH_SETTINGS.split(' ').filter(Boolean);
  const needed = Object.entries(settings).map(([name, value]) => `${name}=${value}`);
  const given = [...chosen, ...needed].flatMap((setting) => ['--set', setting]);
  return start('tidegate', port, '/readyz', {
    command: [process.env.BENCH_TIDEGATE, 'serve', '--project', `${bench.folder}/project`, ...(roles ? ['--role', roles] : []), ...given],
    env: {
      TIDEGATE_LISTEN: `127.0.0.1:${port}`,
      TIDEGATE_MASTER_KEY: bench.masterKey,
      TIDEGATE_REST_API_KEY: bench.restKey,
      DATABASE_URL: databaseUrl('tidegate'),
      REDIS_URL: redisUrl,
    },
  });
}

/** Parse Server in one process. */
export async function startPeer() {
  const port = await freePort();
  return start('parse-server', port, '/parse/health', {
    command: [process.execPath, `${bench.folder}/peer.mjs`],
    env: {
      NODE_ENV: 'production',
      BENCH_MODULES: process.env.BENCH_MODULES,
      BENCH_PORT: String(port),
      BENCH_DATABASE_URL: databaseUrl('parse'),
      BENCH_CLOUD: `${bench.folder}/project/cloud/main.js`,
    },
  });
}

async function start(name, port, health, { command, env }) {
  const log = `${process.env.BENCH_WORK}/${name}.log`;
  const output = openSync(log, 'a');
  const begun = performance.now();
  // The kernel ends it if this process is killed.
  const child = spawn('setpriv', ['--pdeathsig', 'TERM', '--', ...command], {
    cwd: process.env.BENCH_WORK,
    env: { PATH: process.env.PATH, HOME: process.env.BENCH_WORK, ...env },
    stdio: ['ignore', output, output],
  });
  running.add(child);
  child.once('exit', () => running.delete(child));
  while (!(await answers(port, health))) {
    if (child.exitCode !== null || child.signalCode !== null || performance.now() - begun > START_TIMEOUT_MS) {
      await end(child);
      throw new Error(`${name} did not start. Its log ends so:\n${lastLines(log)}`);
    }
    await sleep(2);
  }
  return {
    name,
    log,
    url: `http://127.0.0.1:${port}/parse`,
    pid: child.pid,
    readyMs: performance.now() - begun,
    stop: () => end(child),
    /** kill -9, and its end. */
    kill: () => Promise.all([once(child, 'exit'), child.kill('SIGKILL')]),
  };
}

async function end(child) {
  if (!running.has(child)) {
    return;
  }
  const exited = once(child, 'exit');
  child.kill('SIGTERM');
  const timer = setTimeout(() => child.kill('SIGKILL'), STOP_TIMEOUT_MS);
  await exited;
  clearTimeout(timer);
}

/** Ends whatever still runs. */
export const stopAll = () => Promise.all([...running].map(end));

const answers = (port, path) =>
  new Promise((resolve) => {
    const asked = request({ host: '127.0.0.1', port, path, agent: false }, (answer) => {
      answer.resume();
      answer.on('end', () => resolve(answer.statusCode === 200));
    });
    asked.on('error', () => resolve(false));
    asked.end();
  });

async function freePort() {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address();
  server.close();
  await once(server, 'close');
  return port;
}

const lastLines = (path) => readFileSync(path, 'utf8').trimEnd().split('\n').slice(-12).join('\n');

/** Calls a server's REST API as a client with the REST key, and returns the answer; anything but success throws. */
export async function call(server, method, path, body, headers = {}) {
  const answer = await fetch(`${server.url}/${path}`, {
    method,
    headers: {
      'X-Parse-Application-Id': bench.appId,
      'X-Parse-REST-API-Key': bench.restKey,
      'Content-Type': 'application/json',
      ...headers,
    },
    body: body === undefined ? undefined : JSON.stringify(body),
  });
  const text = await answer.text();
  if (!answer.ok) {
    throw new Error(`${server.name} answered ${answer.status} to ${method} ${path}: ${text}`);
  }
  return JSON.parse(text);
}
