// Section capture: how fast the log takes what waits in the slot, beside pg_recvlogical on a copy of the same slot.

import { execFile } from 'node:child_process';
import { promisify } from 'node:util';

import { databaseUrl, peer, quick, say, sleep } from './modules.mjs';
import { cpuOf } from './process.mjs';
import { call, startTidegate } from './server.mjs';

const { Client } = peer('pg');
const run = promisify(execFile);

const ROWS = quick ? 50_000 : 300_000;
const ROUNDS = 3;
const SLOT = 'tidegate';
const COPY = 'bench_copy';
const TIMEOUT_MS = 120_000;

export async function measureCapture(rows) {
  const setup = await startTidegate({});
  await call(setup, 'POST', 'classes/Copied', { name: 'first', n: 0 });
  await setup.stop();
  const client = new Client({ connectionString: databaseUrl('tidegate') });
  await client.connect();
  const ratios = [];
  const rates = { capture: [], peer: [] };
  let cpu = 0;
  for (let round = 0; round < ROUNDS; round++) {
    await client.query(
      `insert into "Copied" ("objectId", "createdAt", "updatedAt", name, n)
       select 'r${round}n' || n, now(), now(), repeat('a row of the capture section ', 10), n
         from generate_series(1, ${ROWS}) as n`,
    );
    await client.query(`select pg_copy_logical_replication_slot('${SLOT}', '${COPY}')`);
    const peerSeconds = await receive(client);
    await client.query(`select pg_drop_replication_slot('${COPY}')`);
    const captured = await capture(client);
    rates.peer.push(ROWS / peerSeconds);
    rates.capture.push(ROWS / captured.seconds);
    ratios.push(peerSeconds / captured.seconds);
    cpu += captured.cpu / ROUNDS;
  }
  await client.query('truncate "Copied"');
  await client.end();
  const title = `${ROWS.toLocaleString('en')} rows that wait in the slot to the log, median of ${ROUNDS}`;
  rows.add('capture', title, 'rows/s', [median(rates.capture)]);
  rows.add('capture', title, 'rows/s, pg_recvlogical to /dev/null', [median(rates.peer)]);
  rows.add('capture', title, 'of pg_recvlogical', [median(ratios)]);
  rows.add('capture', title, 'CPU µs/event', [cpu / ROWS]);
}

/** Seconds that pg_recvlogical takes for all that waits in the copied slot. */
async function receive(client) {
  const { rows: [{ end }] } = await client.query('select pg_current_wal_insert_lsn() as end');
  say(`pg_recvlogical to ${end}`);
  const options = ['proto_version=1', 'publication_names=tidegate', 'messages=true'];
  const begun = performance.now();
  await run(`${process.env.BENCH_PG_BIN}/pg_recvlogical`, [
    '-d', databaseUrl('tidegate'), '-S', COPY, '--start', '--no-loop', '-f', '/dev/null', '--endpos', end,
    ...options.flatMap((option) => ['-o', option]),
  ]);
  return (performance.now() - begun) / 1000;
}

/** From the first event in the log to the last; the start of the process is not in it. */
async function capture(client) {
  const base = await lastOffset(client);
  say('the same to the log');
  const server = await startTidegate({}, 'capture');
  const begun = performance.now();
  while ((await lastOffset(client)) < base + ROWS) {
    if (performance.now() - begun > TIMEOUT_MS) {
      throw new Error(`capture did not get through: see ${server.log}`);
    }
    await sleep(20);
  }
  const cpu = cpuOf(server.pid);
  await server.stop();
  const { rows: [times] } = await client.query(
    `select extract(epoch from max(logged_at) - min(logged_at))::float8 as logging
       from tidegate.event where log_offset > ${base} and log_offset <= ${base + ROWS}`,
  );
  return { seconds: Math.max(times.logging, 0.001), cpu };
}

async function lastOffset(client) {
  const { rows: [{ offset }] } = await client.query('select last_offset::float8 as offset from tidegate.log');
  return offset;
}

function median(values) {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)];
}
