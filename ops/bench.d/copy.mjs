// Section copy: from COPY of many rows by psql to the end of the last afterSave, and the CPU time it takes.

import { execFile } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { promisify } from 'node:util';

import { databaseUrl, peer, quick, say, sleep } from './modules.mjs';
import { cpuOf } from './process.mjs';
import { call, startTidegate } from './server.mjs';

const { Client } = peer('pg');

const ROWS = quick ? 20_000 : 100_000;
const LOOK_INTERVAL_MS = 50;
/** Without an outcome for so long it is taken to be stuck. */
const STALL_TIMEOUT_MS = 30_000;

export async function measureCopy(rows) {
  const server = await startTidegate();
  const { seconds, copySeconds, used } = await copyThrough(server, { 'Tidegate CPU': server.pid, ...STORES });
  await server.stop();
  const title = `COPY of ${ROWS.toLocaleString('en')} rows to last afterSave done`;
  rows.add('copy', title, 's', [seconds]);
  rows.add('copy', title, 's, of it COPY', [copySeconds]);
  rows.add('copy', title, 'rows/s', [ROWS / seconds]);
  addCpu(rows, 'copy', title, used);
}

/** The same with each stage in a process of its own: what each costs. */
export async function measureStages(rows) {
  const proxy = await startTidegate({}, 'proxy');
  const stages = {};
  for (const role of ['capture', 'dispatch', 'worker']) {
    stages[role] = await startTidegate({}, role);
  }
  const pids = Object.entries(stages).map(([role, { pid }]) => [`${role} CPU`, pid]);
  const { used } = await copyThrough(proxy, { ...Object.fromEntries(pids), ...STORES });
  for (const server of [...Object.values(stages), proxy]) {
    await server.stop();
  }
  addCpu(rows, 'stages', 'the same, a process for each stage', used);
}

const STORES = {
  'Postgres CPU': Number(process.env.BENCH_POSTGRES_PID),
  'Redis CPU': Number(process.env.BENCH_REDIS_PID),
};

function addCpu(rows, section, title, used) {
  for (const [name, microseconds] of Object.entries(used)) {
    rows.add(section, title, `${name} µs/event`, [microseconds]);
  }
}

/** Copies the rows and waits for their after-triggers; `processes`: whose CPU time to take, by name. */
async function copyThrough(server, processes) {
  // Makes the table, and publishes it. The answer comes when its afterSave has run.
  await call(server, 'POST', 'classes/Copied', { name: 'first', n: 0 });
  const client = new Client({ connectionString: databaseUrl('tidegate') });
  await client.connect();
  await client.query('delete from "Copied"');
  const base = await settled(client);
  const names = Object.keys(processes);
  const cpu = () => Object.values(processes).map(cpuOf);

  say(`COPY of ${ROWS} rows`);
  const file = write();
  const before = cpu();
  const begun = await one(client, 'select clock_timestamp()');
  await copy(file);
  const copied = await one(client, 'select clock_timestamp()');
  await outcomes(client, base, server);
  const used = cpu().map((now, index) => [names[index], (now - before[index]) / ROWS]);
  const done = await one(client, 'select max(finished_at) from tidegate.outcome');
  await client.end();
  return {
    seconds: (done - begun) / 1000,
    copySeconds: (copied - begun) / 1000,
    used: Object.fromEntries(used),
  };
}

/** The end of the log, once everything before it is done and it does not grow any more. */
async function settled(client) {
  const query = `select case when settled_offset >= last_offset then last_offset else -1 end
                   from tidegate.dispatch, tidegate.log`;
  for (let previous; ; ) {
    const offset = await one(client, query);
    if (offset >= 0 && offset === previous) {
      return offset;
    }
    previous = offset;
    await sleep(1000);
  }
}

function write() {
  const path = `${process.env.BENCH_WORK}/rows.csv`;
  const time = '2026-01-01T00:00:00Z';
  const line = (n) => `c${String(n).padStart(9, '0')},${time},${time},row ${n} of a copy,${n}\n`;
  writeFileSync(path, Array.from({ length: ROWS }, (_, n) => line(n)).join(''));
  return path;
}

async function copy(file) {
  const command = `\\copy "Copied" ("objectId", "createdAt", "updatedAt", name, n) from '${file}' csv`;
  const psql = `${process.env.BENCH_PG_BIN}/psql`;
  await promisify(execFile)(psql, ['-X', '-v', 'ON_ERROR_STOP=1', '-c', command, databaseUrl('tidegate')]);
}

/** Returns when every row has its outcome. Looking is cheap until the last ones, not to add to what is measured. */
async function outcomes(client, base, server) {
  let last = 0;
  let lastAt = performance.now();
  for (;;) {
    const offset = await one(client, 'select coalesce(max(log_offset), 0) from tidegate.outcome') - base;
    if (offset >= ROWS) {
      const done = `select count(*) from tidegate.outcome where log_offset > ${base} and status = 'done'`;
      const count = Number(await one(client, done));
      if (count === ROWS) {
        return;
      }
    }
    if (offset > last) {
      [last, lastAt] = [offset, performance.now()];
    } else if (performance.now() - lastAt > STALL_TIMEOUT_MS) {
      throw new Error(`after-triggers got only to row ${last} of ${ROWS}: see ${server.log}`);
    }
    await sleep(LOOK_INTERVAL_MS);
  }
}

async function one(client, query) {
  const { rows } = await client.query({ text: query, rowMode: 'array' });
  const value = rows[0][0];
  return typeof value === 'string' ? Number(value) : value;
}
