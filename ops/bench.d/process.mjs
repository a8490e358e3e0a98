// What /proc tells about a process and its descendants.

import { readdirSync, readFileSync } from 'node:fs';
import { execFileSync } from 'node:child_process';

const microsecondsPerTick = 1e6 / Number(execFileSync('getconf', ['CLK_TCK'], { encoding: 'utf8' }));

// Positions in /proc/PID/stat, counted after the command's name, which may hold spaces.
const PARENT = 1;
const USER_TICKS = 11;
const LAST_TICKS = 14;

/** CPU time of a process tree so far, in µs: user and system, descendants that have ended included. */
export function cpuOf(root) {
  const ticks = tree(root).flatMap(({ fields }) => fields.slice(USER_TICKS, LAST_TICKS + 1));
  return ticks.reduce((sum, field) => sum + Number(field), 0) * microsecondsPerTick;
}

/**
 * Memory of a process tree in bytes: proportional set size, so pages that processes share count once.
 * NaN where the kernel does not say: an isolate's memory is for root alone to look at.
 */
export function memoryOf(root) {
  const pss = ({ pid }) => {
    try {
      const text = readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8');
      return Number(/^Pss:\s+(\d+) kB$/m.exec(text)[1]) * 1024;
    } catch (error) {
      // Ended since it was listed.
      return error.code === 'ENOENT' || error.code === 'ESRCH' ? 0 : NaN;
    }
  };
  return tree(root).reduce((sum, process) => sum + pss(process), 0);
}

/** CPU time of the whole machine so far, in µs. */
export function cpuOfMachine() {
  const [user, nice, system, , , irq, softirq] = readFileSync('/proc/stat', 'utf8').split('\n')[0].match(/\d+/g);
  return [user, nice, system, irq, softirq].reduce((sum, ticks) => sum + Number(ticks), 0) * microsecondsPerTick;
}

function tree(root) {
  const all = readdirSync('/proc').filter((name) => /^\d+$/.test(name)).map(statOf).filter(Boolean);
  const found = all.filter(({ pid }) => pid === root);
  for (const { pid } of found) {
    found.push(...all.filter(({ fields }) => Number(fields[PARENT]) === pid));
  }
  return found;
}

function statOf(name) {
  try {
    const text = readFileSync(`/proc/${name}/stat`, 'utf8');
    return { pid: Number(name), fields: text.slice(text.lastIndexOf(')') + 2).split(' ') };
  } catch {
    return null;
  }
}
