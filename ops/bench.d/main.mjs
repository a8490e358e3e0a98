// Runs the sections that its arguments name, and prints the table. ops/bench starts it, with Postgres and Redis running.

import { cpus } from 'node:os';

import { measureCopy } from './copy.mjs';
import { measureHttp } from './http.mjs';
import { measureLatency } from './latency.mjs';
import { peer, quick, say, withPeer } from './modules.mjs';
import { stopAll } from './server.mjs';
import { measureStart } from './start.mjs';
import { Rows } from './table.mjs';

const SECTIONS = { http: measureHttp, latency: measureLatency, copy: measureCopy, start: measureStart };

for (const [signal, code] of [['SIGINT', 130], ['SIGTERM', 143]]) {
  process.once(signal, () => stopAll().finally(() => process.exit(code)));
}

const rows = new Rows();
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
if (process.exitCode === undefined) {
  print();
}

function print() {
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
  };
  if (process.env.BENCH_JSON === 'yes') {
    process.stdout.write(`${JSON.stringify({ ...about, rows: rows.list }, null, 2)}\n`);
    return;
  }
  const versions = [
    `Tidegate ${about.tidegate}`,
    ...(withPeer ? [`Parse Server ${about.parseServer} on Node ${about.node}`] : []),
    `PostgreSQL ${about.postgres}`,
    `Redis ${about.redis}`,
  ];
  const lines = [
    `${about.date}, ${about.cpus} x ${about.cpu}${quick ? ', a quick run' : ''}`,
    versions.join(', '),
    '',
    rows.asText(),
  ];
  process.stdout.write(`${lines.join('\n')}\n`);
}
