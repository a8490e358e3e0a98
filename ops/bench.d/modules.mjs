// What the helpers of ops/bench share: where things are, the keys of both servers, the packages that npm installed.

import { createRequire } from 'node:module';
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';

const env = process.env;

export const bench = {
  appId: 'bench',
  masterKey: 'bench-master-key',
  restKey: 'bench-rest-key',
  folder: dirname(fileURLToPath(import.meta.url)),
};

/** Requires a package installed in target/bench. */
export const peer = createRequire(`${env.BENCH_MODULES}/`);

export const quick = env.BENCH_QUICK === 'yes';
export const withPeer = env.BENCH_PEER === 'yes';

/** Of the Postgres server of this run; `name`: one of its databases. */
export const databaseUrl = (name) => `postgres://bench@127.0.0.1:${env.BENCH_POSTGRES_PORT}/${name}`;

export const redisUrl = `redis://127.0.0.1:${env.BENCH_REDIS_PORT}/`;

/** Progress goes to stderr, like everything that is not data. */
export const say = (text) => process.stderr.write(`==> ${text}\n`);

export const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

const ascending = (values) => [...values].sort((a, b) => a - b);

export const median = (values) => ascending(values)[Math.floor((values.length - 1) / 2)];

export const percentile = (values, share) =>
  ascending(values)[Math.min(values.length - 1, Math.ceil(values.length * share) - 1)];
