// Section bullmq: a queue that people know, on the same Redis. Its jobs do nothing, as the afterSave of section copy.

import { peer, quick, redisUrl, say } from './modules.mjs';
import { cpuOf } from './process.mjs';

const JOBS = quick ? 5_000 : 30_000;
const BULK = 500;
const CONCURRENCY = 16;

export async function measureBullmq(rows) {
  const { Queue, Worker } = peer('bullmq');
  const { hostname: host, port } = new URL(redisUrl);
  const connection = { host, port: Number(port), maxRetriesPerRequest: null };
  const queue = new Queue('bench', { connection });
  await queue.obliterate({ force: true });
  say(`BullMQ: ${JOBS} jobs`);
  const data = { text: 'x'.repeat(400) };
  for (let n = 0; n < JOBS; n += BULK) {
    await queue.addBulk(Array.from({ length: BULK }, () => ({ name: 'nothing', data })));
  }
  const redis = Number(process.env.BENCH_REDIS_PID);
  const before = [cpuOf(process.pid), cpuOf(redis)];
  const begun = performance.now();
  await new Promise((resolve, reject) => {
    let done = 0;
    const worker = new Worker('bench', async () => {}, { connection, concurrency: CONCURRENCY });
    worker.on('failed', (job, error) => reject(error));
    worker.on('completed', () => {
      if (++done === JOBS) {
        resolve(worker.close());
      }
    });
  });
  const seconds = (performance.now() - begun) / 1000;
  const used = [cpuOf(process.pid), cpuOf(redis)].map((now, index) => (now - before[index]) / JOBS);
  await queue.obliterate({ force: true });
  await queue.close();
  const title = `BullMQ ${peer('bullmq/package.json').version}, ${CONCURRENCY} at once, jobs that do nothing`;
  rows.add('bullmq', title, 'jobs/s', [JOBS / seconds]);
  rows.add('bullmq', title, 'CPU µs/job', [used[0]]);
  rows.add('bullmq', title, 'Redis CPU µs/job', [used[1]]);
}
