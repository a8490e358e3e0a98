// Section start: time from the start of the process to ready, and memory of the idle server.

import { median, quick, say, sleep, withPeer } from './modules.mjs';
import { memoryOf } from './process.mjs';
import { startPeer, startTidegate } from './server.mjs';

const ROUNDS = quick ? 1 : 3;
const SETTLE_MS = 2000;

export async function measureStart(rows) {
  const starters = [startTidegate, ...(withPeer ? [startPeer] : [])];
  const measured = [];
  for (const starter of starters) {
    // The first start makes tables; what is measured is a restart.
    await (await starter()).stop();
    const rounds = [];
    for (let round = 0; round < ROUNDS; round++) {
      const server = await starter();
      say(`start and idle memory: ${server.name}, run ${round + 1} of ${ROUNDS}`);
      await sleep(SETTLE_MS);
      rounds.push({ ready: server.readyMs, memory: memoryOf(server.pid) / 1e6 });
      await server.stop();
    }
    measured.push(rounds);
  }
  const values = (name) => measured.map((rounds) => median(rounds.map((round) => round[name])));
  rows.add('start', 'start to ready', 'ms', values('ready'), 'lower');
  rows.add('start', 'idle memory, all processes', 'MB', values('memory'), 'lower');
}
