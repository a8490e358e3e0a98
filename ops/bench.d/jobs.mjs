// Section jobs: runs that do nothing, with their whole history; how soon a run begins on an idle server; what a hundred
// thousand schedules cost. And the queue alone: native tasks through its streams, beside BullMQ in section bullmq.

import { execFile } from 'node:child_process';
import { promisify } from 'node:util';

import { bench, databaseUrl, peer, percentile, quick, redisUrl, say, sleep } from './modules.mjs';
import { cpuOf } from './process.mjs';
import { call, startTidegate } from './server.mjs';

const { Client } = peer('pg');

const RUNS = quick ? 2_000 : 20_000;
const STARTS = quick ? 50 : 400;
const START_INTERVAL_MS = 25;
const SCHEDULES = quick ? 10_000 : 100_000;
const SCHEDULE_SECONDS = quick ? 10 : 70;
const TIMEOUT_MS = 120_000;

const asMaster = { 'X-Parse-Master-Key': bench.masterKey };
const postgres = Number(process.env.BENCH_POSTGRES_PID);
const redis = Number(process.env.BENCH_REDIS_PID);

export async function measureJobs(rows) {
  await measureNative(rows);
  const server = await startTidegate();
  const client = new Client({ connectionString: databaseUrl('tidegate') });
  await client.connect();
  await measureRuns(rows, server, client);
  await measureStart(rows, server, client);
  await server.stop();
  await measureSchedules(rows, client);
  await client.end();
}

async function measureNative(rows) {
  say('native tasks that do nothing');
  const before = cpuOf(redis);
  const { stdout } = await promisify(execFile)(process.env.BENCH_NOOP, [redisUrl]);
  const { tasks, perSecond } = JSON.parse(stdout);
  const title = 'native tasks that do nothing, 16 at once';
  rows.add('jobs', title, 'tasks/s', [perSecond]);
  rows.add('jobs', title, 'Redis CPU µs/task', [(cpuOf(redis) - before) / tasks]);
}

/** All are asked for while jobs are paused: what is measured is how fast they are worked off. */
async function measureRuns(rows, server, client) {
  await client.query('update tidegate.job_control set paused_at = now()');
  say(`${RUNS} runs of a job that does nothing`);
  const { result: first } = await call(server, 'POST', 'functions/startRuns', { count: RUNS }, asMaster);
  const used = [server.pid, postgres, redis].map(cpuOf);
  const begun = performance.now();
  await client.query('update tidegate.job_control set paused_at = null');
  await client.query('notify tidegate_job');
  await ended(client, first, RUNS);
  const seconds = (performance.now() - begun) / 1000;
  const [own, database, queue] = [server.pid, postgres, redis].map((pid, index) => (cpuOf(pid) - used[index]) / RUNS);
  const title = 'jobs in JavaScript that do nothing, with full history';
  rows.add('jobs', title, 'runs/s', [RUNS / seconds]);
  rows.add('jobs', title, 'Tidegate CPU µs/run', [own]);
  rows.add('jobs', title, 'Postgres CPU µs/run', [database]);
  rows.add('jobs', title, 'Redis CPU µs/run', [queue]);
}

/** The handler answers the time at which it began; both clocks are the machine's. */
async function measureStart(rows, server, client) {
  say(`${STARTS} runs, one each ${START_INTERVAL_MS} ms`);
  const ids = [];
  for (let n = 0; n < STARTS; n++) {
    const { result } = await call(server, 'POST', 'functions/startRuns', { count: 1 }, asMaster);
    ids.push(result);
    await sleep(START_INTERVAL_MS);
  }
  await ended(client, ids[0], STARTS);
  const query = `select extract(epoch from created_at)::float8 * 1000 as asked, result::float8 as begun
                   from tidegate.run where id >= $1`;
  const { rows: runs } = await client.query(query, [numberOf(ids[0])]);
  // The handler's clock counts whole milliseconds: half of one is what it leaves out on average.
  const delays = runs.map(({ asked, begun }) => begun + 0.5 - asked);
  const title = 'idle: run asked for to handler begun';
  rows.add('jobs', title, 'p50 ms', [percentile(delays, 0.5)]);
  rows.add('jobs', title, 'p99 ms', [percentile(delays, 0.99)]);
}

/** Hourly schedules, spread over the hour; a scheduler alone, so that what is measured is the clock's part. */
async function measureSchedules(rows, client) {
  await client.query(
    `insert into tidegate.schedule (name, source, job, options, next_due)
     select 'bench' || n, 'api', 'nothing', json_build_object('cron', (n % 60) || ' * * * *')::text, '-infinity'
       from generate_series(1, ${SCHEDULES}) as n`,
  );
  const scheduler = await startTidegate({}, 'scheduler');
  say(`planning ${SCHEDULES} schedules`);
  await until(client, `select count(*) = 0 as done from tidegate.schedule where next_due = '-infinity'`);
  say(`their clock, for ${SCHEDULE_SECONDS} s`);
  const before = [scheduler.pid, postgres].map(cpuOf);
  const { rows: [{ fires: earlier }] } = await client.query('select count(*)::integer as fires from tidegate.fire');
  await sleep(SCHEDULE_SECONDS * 1000);
  const [own, database] = [scheduler.pid, postgres].map((pid, index) => cpuOf(pid) - before[index]);
  const { rows: [{ fires }] } = await client.query('select count(*)::integer as fires from tidegate.fire');
  await scheduler.stop();
  await client.query(`delete from tidegate.schedule where name like 'bench%'`);
  const title = `${SCHEDULES.toLocaleString('en')} hourly schedules`;
  rows.add('jobs', title, 'fires/s meanwhile', [(fires - earlier) / SCHEDULE_SECONDS]);
  rows.add('jobs', title, 'scheduler CPU ms/s', [own / 1000 / SCHEDULE_SECONDS]);
  rows.add('jobs', title, 'Postgres CPU ms/s', [database / 1000 / SCHEDULE_SECONDS]);
}

const numberOf = (id) => Number(id.slice(1));

/** Returns when `count` runs from this one on have succeeded. */
function ended(client, first, count) {
  const query = `select count(*) >= ${count} as done from tidegate.run where id >= ${numberOf(first)} and state = 'succeeded'`;
  return until(client, query);
}

async function until(client, query) {
  const begun = performance.now();
  for (;;) {
    const { rows: [{ done }] } = await client.query(query);
    if (done) {
      return;
    }
    if (performance.now() - begun > TIMEOUT_MS) {
      throw new Error(`waited in vain: ${query}`);
    }
    await sleep(50);
  }
}
