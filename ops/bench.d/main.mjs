// Runs the sections that its arguments name, and prints the table. ops/bench starts it, Postgres and Redis first.

import { cpus } from 'node:os';

import { measureBullmq } from './bullmq.mjs';
import { measureCapture } from './capture.mjs';
import { measureCopy, measureStages } from './copy.mjs';
import { measureHttp } from './http.mjs';
import { measureJobs } from './jobs.mjs';
import { measureLatency } from './latency.mjs';
import { peer, quick, say, withPeer } from './modules.mjs';
import { cpuOf, cpuOfMachine } from './process.mjs';
import { stopAll } from './server.mjs';
import { measureRecovery } from './recovery.mjs';
import { measureStart } from './start.mjs';
import { Rows } from './table.mjs';

const SECTIONS = {
  http: measureHttp,
  latency: measureLatency,
  capture: measureCapture,
  copy: measureCopy,
  stages: measureStages,
  bullmq: measureBullmq,
  jobs: measureJobs,
  recovery: measureRecovery,
  start: measureStart,
};

for (const [signal, code] of [['SIGINT', 130], ['SIGTERM', 143]]) {
  process.once(signal, () => stopAll().finally(() => process.exit(code)));
}

/** CPU time of everything that is not this measurement, in µs. Postgres and Redis, too, are children of ops/bench. */
const cpuOfOthers = () => cpuOfMachine() - cpuOf(process.ppid);

const rows = new Rows();
const begun = { at: performance.now(), cpuOfOthers: cpuOfOthers() };
try {
  for (const name of process.argv.slice(2)) {
    await SECTIONS[name](rows);
  }
} catch (error) {
  say(`failed: ${error.message}`);
  process.exitCode = 1;
} finally {
  await stopAll();
}
// What was measured before a failure is worth its minutes.
if (rows.list.length > 0) {
  print();
}

function print() {
  const elapsed = (performance.now() - begun.at) * 1000;
  const about = {
    date: new Date().toISOString(),
    cpus: cpus().length,
    cpu: cpus()[0]?.model ?? 'unknown',
    tidegate: process.env.BENCH_REVISION,
    postgres: process.env.BENCH_POSTGRES_VERSION,
    redis: process.env.BENCH_REDIS_VERSION,
    node: process.version,
    parseServer: withPeer ? peer('parse-server/package.json').version : null,
    quick,
    settings: process.env.BENCH_SETTINGS.split(' ').filter(Boolean),
    cpusUsedByOthers: Math.max(0, (cpuOfOthers() - begun.cpuOfOthers) / elapsed),
  };
  if (process.env.BENCH_JSON === 'yes') {
    process.stdout.write(`${JSON.stringify({ ...about, rows: rows.list }, null, 2)}\n`);
    return;
  }
  const versions = [
    [`Tidegate ${about.tidegate}`, ...about.settings].join(' '),
    ...(withPeer ? [`Parse Server ${about.parseServer} on Node ${about.node}`] : []),
    `PostgreSQL ${about.postgres}`,
    `Redis ${about.redis}`,
  ];
  const lines = [
    `${about.date}, ${about.cpus} x ${about.cpu}${quick ? ', a quick run' : ''}`,
    versions.join(', '),
    `Other programs used ${about.cpusUsedByOthers.toFixed(2)} of the ${about.cpus} CPUs meanwhile`,
    '',
    rows.asText(),
  ];
  process.stdout.write(`${lines.join('\n')}\n`);
}
