// Runs Parse Server with the cloud code of ops/bench, on the Postgres and the port that the environment names.

import { bench, peer } from './modules.mjs';

const { ParseServer } = peer('parse-server');
const FilesAdapter = peer('@parse/fs-files-adapter');

const port = Number(process.env.BENCH_PORT);
const files = new FilesAdapter({ filesSubDirectory: 'bench' });

await ParseServer.startApp({
  appId: bench.appId,
  masterKey: bench.masterKey,
  restAPIKey: bench.restKey,
  databaseURI: process.env.BENCH_DATABASE_URL,
  serverURL: `http://127.0.0.1:${port}/parse`,
  host: '127.0.0.1',
  port,
  mountPath: '/parse',
  cloud: process.env.BENCH_CLOUD,
  filesAdapter: files,
  // At its best: it writes a log line for every function and trigger otherwise.
  silent: true,
  logLevel: 'error',
  logsFolder: null,
});
