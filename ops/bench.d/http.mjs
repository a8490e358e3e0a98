// Section http: what a request costs, at 1 and at 16 connections, on both servers by turns.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { promisify } from 'node:util';

import { bench, median, quick, say, withPeer } from './modules.mjs';
import { cpuOf, memoryOf } from './process.mjs';
import { call, startPeer, startTidegate } from './server.mjs';

const ROUNDS = quick ? 1 : 3;
const SECONDS = quick ? 2 : 7;
const WARM_UP_SECONDS = quick ? 1 : 3;
const CONNECTIONS = [1, 16];
const OBJECTS = 1000;

const ITEM = { name: '  Lamp ', price: 40 };

const LOADS = [
  { name: 'function hello', method: 'POST', body: { name: 'Ada' }, paths: () => ['functions/hello'] },
  { name: 'create with beforeSave', method: 'POST', body: ITEM, paths: () => ['classes/Item'] },
  { name: 'get by id', method: 'GET', paths: (server) => server.ids.map((id) => `classes/Item/${id}`) },
];

export async function measureHttp(rows) {
  const servers = [await startTidegate(), ...(withPeer ? [await startPeer()] : [])];
  for (const server of servers) {
    await prepare(server);
  }
  for (const load of LOADS) {
    for (const connections of CONNECTIONS) {
      const measured = await rounds(servers, load, connections);
      const title = `${load.name}, ${connections} connection${connections === 1 ? '' : 's'}`;
      report(rows, title, measured);
    }
  }
  rows.add('http', 'memory after these requests', 'MB', servers.map(({ pid }) => memoryOf(pid) / 1e6), 'lower');
  await Promise.all(servers.map((server) => server.stop()));
}

/** Checks that a server does what is going to be measured, and gives it objects to get. */
async function prepare(server) {
  assert.deepEqual(await call(server, 'POST', 'functions/hello', { name: 'Ada' }), { result: 'Hello, Ada!' });
  const asMaster = { 'X-Parse-Master-Key': bench.masterKey };
  // Makes the table, which Parse Server lets only the master key do.
  const { objectId } = await call(server, 'POST', 'classes/Item', ITEM, asMaster);
  const item = await call(server, 'GET', `classes/Item/${objectId}`);
  assert.deepEqual([item.name, item.price, item.quantity], ['Lamp', 40, 1]);
  server.ids = [];
  while (server.ids.length < OBJECTS) {
    const requests = Array.from({ length: 50 }, () => ({ method: 'POST', path: '/parse/classes/Item', body: ITEM }));
    const answers = await call(server, 'POST', 'batch', { requests });
    server.ids.push(...answers.map(({ success }) => success.objectId));
  }
}

/** By turns, so that what else the machine does meanwhile touches both. Returns each server's runs. */
async function rounds(servers, load, connections) {
  const runs = servers.map(() => []);
  for (let round = 0; round < ROUNDS; round++) {
    for (const [index, server] of servers.entries()) {
      if (round === 0) {
        await wrk(server, load, connections, WARM_UP_SECONDS);
      }
      say(`${load.name}, ${connections} connection(s): ${server.name}, run ${round + 1} of ${ROUNDS}`);
      const before = cpuOf(server.pid);
      const run = await wrk(server, load, connections, SECONDS);
      runs[index].push({ ...run, cpu: (cpuOf(server.pid) - before) / run.requests });
    }
  }
  return runs;
}

async function wrk(server, load, connections, seconds) {
  const paths = `${process.env.BENCH_WORK}/paths`;
  writeFileSync(paths, load.paths(server).map((path) => `/parse/${path}\n`).join(''));
  const options = ['-t1', `-c${connections}`, `-d${seconds}s`, '--timeout', '10s', '-s', `${bench.folder}/load.lua`];
  const env = {
    PATH: process.env.PATH,
    LOAD_APP_ID: bench.appId,
    LOAD_REST_KEY: bench.restKey,
    LOAD_METHOD: load.method,
    LOAD_BODY: JSON.stringify(load.body),
    LOAD_PATHS: paths,
  };
  const { stdout } = await promisify(execFile)('wrk', [...options, server.url], { env });
  const run = JSON.parse(stdout.trimEnd().split('\n').at(-1));
  if (run.errors > 0 || run.requests === 0) {
    throw new Error(`${server.name}: ${run.errors} of ${run.requests} requests failed (${load.name})`);
  }
  return run;
}

function report(rows, title, measured) {
  const values = (pick) => measured.map((runs) => median(runs.map(pick)));
  rows.add('http', title, 'req/s', values((run) => run.requests / run.seconds), 'higher');
  rows.add('http', title, 'p50 ms', values((run) => run.p50), 'lower');
  rows.add('http', title, 'p99 ms', values((run) => run.p99), 'lower');
  rows.add('http', title, 'server CPU µs', values((run) => run.cpu), 'lower');
}
