// Section latency: from a commit's acknowledgement to the beginning of its afterSave.
//
// The client notes the time when Postgres has acknowledged its COMMIT, the handler the time when it begins. Both clocks
// are the machine's, read to microseconds. One isolate, so that one place has all times of the handlers. A handler may
// begin before the client has read the acknowledgement: the time is then negative.
//
// In between the event is made durable in the log, which waits for the disk once: what one such wait takes is measured
// too.

import { closeSync, fdatasyncSync, openSync, writeSync } from 'node:fs';

import { databaseUrl, peer, percentile, quick, say, sleep } from './modules.mjs';
import { call, startTidegate } from './server.mjs';

const { Client } = peer('pg');

const PER_SECOND = 200;
const SECONDS = quick ? 5 : 20;
const WARM_UP_ROWS = 2 * PER_SECOND;
const CONNECTIONS = 4;
const DISK_WRITES = 500;
const ARRIVAL_TIMEOUT_MS = 20_000;

const INSERT = `insert into "Probe" ("objectId", "createdAt", "updatedAt", name, n) values ($1, now(), now(), $2, $3)`;

export async function measureLatency(rows) {
  const server = await startTidegate({ isolates: 1 });
  // Makes the table, and publishes it.
  await call(server, 'POST', 'classes/Probe', { name: 'first', n: 0 });
  const clients = await Promise.all(Array.from({ length: CONNECTIONS }, connect));
  say('commit to handler: warm-up');
  await insert(clients, 'w', WARM_UP_ROWS);
  await arrived(server, WARM_UP_ROWS);

  const { result: handlerOrigin } = await call(server, 'POST', 'functions/probeReset', {});
  const ownOrigin = origin();
  say(`commit to handler: ${PER_SECOND} rows/s for ${SECONDS} s`);
  const acknowledged = await insert(clients, 'm', PER_SECOND * SECONDS);
  await arrived(server, acknowledged.size);
  const { result: begins } = await call(server, 'POST', 'functions/probeBegins', {});
  await Promise.all(clients.map((client) => client.end()));
  await server.stop();

  const disk = diskWaits();
  const delays = [...acknowledged].map(([id, at]) => begins[id] + handlerOrigin - (at + ownOrigin));
  const title = `SQL commit to afterSave begun, ${PER_SECOND} rows/s`;
  rows.add('latency', title, 'p50 ms', [percentile(delays, 0.5)]);
  rows.add('latency', title, 'p99 ms', [percentile(delays, 0.99)]);
  rows.add('latency', 'fdatasync of this disk, one is in the above', 'p50 ms', [percentile(disk, 0.5)]);
  rows.add('latency', 'fdatasync of this disk, one is in the above', 'p99 ms', [percentile(disk, 0.99)]);
}

/** How long fdatasync takes after 8 kB, as for a commit, in a file that does not grow, beside Postgres's; ms. */
function diskWaits() {
  const file = openSync(`${process.env.BENCH_WORK}/disk`, 'w');
  const page = Buffer.alloc(8192, 'x');
  writeSync(file, Buffer.alloc(DISK_WRITES * page.length));
  fdatasyncSync(file);
  const waits = Array.from({ length: DISK_WRITES }, (_, n) => {
    writeSync(file, page, 0, page.length, n * page.length);
    const begun = performance.now();
    fdatasyncSync(file);
    return performance.now() - begun;
  });
  closeSync(file);
  return waits;
}

async function connect() {
  const client = new Client({ connectionString: databaseUrl('tidegate') });
  await client.connect();
  return client;
}

/** Inserts at an even pace, one transaction a row; returns when each commit was acknowledged, by object id. */
async function insert(clients, prefix, count) {
  const acknowledged = new Map();
  const begun = performance.now();
  const pending = [];
  for (let n = 0; n < count; n++) {
    await sleep(Math.max(0, begun + (n * 1000) / PER_SECOND - performance.now()));
    const id = `${prefix}${String(n).padStart(9, '0')}`;
    const query = { name: 'probe', text: INSERT, values: [id, 'a row of the probe', n] };
    pending.push(clients[n % clients.length].query(query).then(() => acknowledged.set(id, performance.now())));
  }
  await Promise.all(pending);
  return acknowledged;
}

async function arrived(server, count) {
  const begun = performance.now();
  for (;;) {
    const { result } = await call(server, 'POST', 'functions/probeCount', {});
    if (result >= count) {
      return;
    }
    if (performance.now() - begun > ARRIVAL_TIMEOUT_MS) {
      throw new Error(`only ${result} of ${count} handlers ran: see ${server.log}`);
    }
    await sleep(200);
  }
}

/** What is to be added to performance.now() for the time of day; the cloud code finds its own in the same way. */
function origin() {
  const before = Date.now();
  while (Date.now() === before);
  return Date.now() - performance.now();
}
