// Section recovery: one of two processes is killed, or Redis is flushed, under load; how long until every object's
// changes are delivered again.

import { execFile } from 'node:child_process';
import { promisify } from 'node:util';

import { databaseUrl, peer, quick, redisUrl, say, sleep } from './modules.mjs';
import { call, startTidegate } from './server.mjs';

const { Client } = peer('pg');

const OBJECTS = 64;
const PER_SECOND = 400;
const ROUNDS = quick ? 1 : 5;
const TIMEOUT_MS = 60_000;

export async function measureRecovery(rows) {
  const proxy = await startTidegate({}, 'proxy');
  const pairs = {};
  for (const role of ['capture', 'dispatch', 'worker']) {
    pairs[role] = [await startTidegate({}, role), await startTidegate({}, role)];
  }
  await call(proxy, 'POST', 'classes/Copied', { name: 'first', n: 0 });
  const client = new Client({ connectionString: databaseUrl('tidegate') });
  await client.connect();
  await client.query(
    `insert into "Copied" ("objectId", "createdAt", "updatedAt", name, n)
     select 'recovery' || n, now(), now(), 'an object', 0 from generate_series(1, ${OBJECTS}) as n`,
  );
  const writer = write();
  const flush = () => promisify(execFile)('redis-cli', ['-u', redisUrl, 'flushall']);
  const faults = { worker: kill, capture: kill, dispatch: kill, FLUSHALL: flush };
  for (const [name, strike] of Object.entries(faults)) {
    const times = [];
    for (let round = 0; round < ROUNDS; round++) {
      await served(client);
      say(`${name}, round ${round + 1}`);
      times.push(await recover(client, () => strike(pairs[name], name)));
    }
    const title = name === 'FLUSHALL' ? 'FLUSHALL' : `kill -9 of the active ${name}, another stands by`;
    times.sort((a, b) => a - b);
    rows.add('recovery', `${title}: all delivered again`, 's, median', [times[Math.floor(times.length / 2)]]);
    rows.add('recovery', `${title}: all delivered again`, 's, longest', [times.at(-1)]);
  }
  await writer.stop();
  await client.end();
  for (const server of [...Object.values(pairs).flat(), proxy]) {
    await server.stop();
  }
}

/** Kills the one that was started first, which is the active one, and starts another to stand by. */
async function kill(pair, role) {
  await pair.shift().kill();
  startTidegate({}, role).then((server) => pair.push(server));
}

function write() {
  let stopped = false;
  const writing = (async () => {
    const client = new Client({ connectionString: databaseUrl('tidegate') });
    await client.connect();
    const begun = performance.now();
    for (let n = 0; !stopped; n++) {
      await sleep(Math.max(0, begun + (n * 1000) / PER_SECOND - performance.now()));
      const id = `recovery${(n % OBJECTS) + 1}`;
      await client.query({ name: 'write', text: `update "Copied" set n = $2 where "objectId" = $1`, values: [id, n] });
    }
    await client.end();
  })();
  return { stop: () => ((stopped = true), writing) };
}

/** Seconds from `strike` until each object has had a delivery of a change that was committed after it. */
async function recover(client, strike) {
  const { rows: [{ now }] } = await client.query('select clock_timestamp()::text as now');
  const begun = performance.now();
  await strike();
  await everyObjectSince(client, now, begun);
  return (performance.now() - begun) / 1000;
}

async function served(client) {
  const { rows: [{ now }] } = await client.query('select clock_timestamp()::text as now');
  await everyObjectSince(client, now, performance.now());
}

async function everyObjectSince(client, time, begun) {
  const query = `select count(distinct body::json#>>'{new,objectId}')::integer as objects
                   from tidegate.event join tidegate.outcome using (log_offset)
                  where commit_time > $1 and status = 'done' and finished_at > $1`;
  for (;;) {
    const { rows: [{ objects }] } = await client.query(query, [time]);
    if (objects >= OBJECTS) {
      return;
    }
    if (performance.now() - begun > TIMEOUT_MS) {
      throw new Error(`only ${objects} of ${OBJECTS} objects were delivered again`);
    }
    await sleep(25);
  }
}
