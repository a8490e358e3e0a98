// Jobs, schedules and workflows as they are registered: names and options are checked here, where their author sees the
// line that is wrong. What a cron expression, a time zone or a graph means is the host's to check, before it serves
// the release.
//
//   Parse.Cloud.job('report', { retries: 5, timeout: 60000 }, handler)
//   Parse.Cloud.schedule('nightly', { daily: '02:00', timezone: 'Europe/Berlin' }, 'report')
//   Parse.Cloud.workflow('import', { nodes: { fetch: { job: 'fetch' }, load: { job: 'load', after: ['fetch'] } } })

import { checkName, checkedOptions, hasOnly, isObject, isText, isWhole, shown } from './option-values.js';
import { add, jobs, register, schedules, workflows } from './registry.js';

const DAY_MS = 86_400_000;
const MAX_RETRIES = 1000;
const MAX_CONCURRENCY = 100_000;
const MAX_DESCRIPTION_CHARS = 1000;

const retries = {
  expected: `a whole number from 0 to ${MAX_RETRIES}`,
  fits: (value) => isWhole(value, 0, MAX_RETRIES),
};
const description = {
  expected: `a text of 1 to ${MAX_DESCRIPTION_CHARS} characters`,
  fits: (value) => isText(value, MAX_DESCRIPTION_CHARS),
};
const limit = {
  expected: `a whole number from 1 to ${MAX_CONCURRENCY}`,
  fits: (value) => isWhole(value, 1, MAX_CONCURRENCY),
};

const OF_JOBS = {
  retries,
  backoff: {
    expected:
      '{ initial, factor, max }: milliseconds from 0 to one day, a factor from 1 to 100, and max not below initial',
    fits: isBackoff,
  },
  timeout: {
    expected: 'milliseconds, a whole number from 1 to one day',
    fits: (value) => isWhole(value, 1, DAY_MS),
  },
  concurrency: limit,
  keyConcurrency: limit,
  concurrencyKey: {
    expected: 'the name of a param: a text of 1 to 200 characters',
    fits: (value) => isText(value, 200),
  },
  description,
};

const text = { expected: 'a text', fits: (value) => typeof value === 'string' };
const duration = {
  expected: "milliseconds or a text like '10m'",
  fits: (value) => typeof value === 'string' || isWhole(value, 0, Number.MAX_SAFE_INTEGER),
};
const object = { expected: 'an object', fits: isObject };
const moment = {
  expected: 'an ISO date, milliseconds since 1970 or a Date',
  fits: (value) => ['string', 'number'].includes(typeof value) || value instanceof Date,
};

/** Exactly one of these says when. */
const TIMINGS = {
  cron: text,
  every: duration,
  daily: {
    expected: "a time like '09:00', or { at }",
    fits: (value) => typeof value === 'string' || isObject(value),
  },
  weekly: object,
  monthly: object,
  once: moment,
};

const OF_SCHEDULES = {
  ...TIMINGS,
  timezone: text,
  params: object,
  missed: {
    expected: "'skip', 'one', 'all' or { all: <most> }",
    fits: (value) => ['skip', 'one', 'all'].includes(value) || (isObject(value) && hasOnly(value, { all: 0 })),
  },
  overlap: {
    expected: "'skip', 'queue', 'allow' or 'cancel'",
    fits: (value) => ['skip', 'queue', 'allow', 'cancel'].includes(value),
  },
  jitter: duration,
  starts: moment,
  ends: moment,
  retries,
  priority: { expected: 'a whole number from -100 to 100', fits: (value) => isWhole(value, -100, 100) },
  description,
};

/** `job(name, handler)`, `job(name, options, handler)` or `job(name, handler, options)`. */
export function job(name, ...rest) {
  checkName('a job', name);
  const [handler, options = {}] = typeof rest[0] === 'function' ? rest : [rest[1], rest[0]];
  register(jobs, name, handler, checkedOptions(`job ${name}`, options, OF_JOBS));
}

/** A handler in the place of a name is registered as the job `schedule:<name of the schedule>`. */
export function schedule(name, options, target) {
  checkName('a schedule', name);
  const what = `schedule ${name}`;
  const checked = checkedOptions(what, options, OF_SCHEDULES);
  const timings = Object.keys(TIMINGS).filter((key) => Object.hasOwn(checked, key));
  if (timings.length !== 1) {
    const found = timings.length === 0 ? 'there is none' : `there are ${timings.join(' and ')}`;
    throw new Error(`${what}: exactly one of ${Object.keys(TIMINGS).join(', ')} says when it is due; ${found}.`);
  }
  if (typeof target !== 'function' && !isText(target, Infinity)) {
    throw new TypeError(`${what}: what it starts must be the name of a job, or a handler; it is ${shown(target)}.`);
  }
  let job = target;
  if (typeof target === 'function') {
    job = `schedule:${name}`;
    register(jobs, job, target, {});
  }
  add(schedules, what, name, { options: checked, job, params: checked.params ?? {} });
}

export function workflow(name, graph) {
  checkName('a workflow', name);
  const what = `workflow ${name}`;
  const isGraph = Array.isArray(graph) ? graph.every(isNode) : isObject(graph) && isObject(graph.nodes);
  if (!isGraph) {
    throw new TypeError(
      `${what}: the graph must be { nodes: { name: { job, after } } }, or an array of jobs that run one after the other; ` +
        `it is ${shown(graph)}.`,
    );
  }
  const wrong = Object.entries(graph.nodes ?? {}).find(([, node]) => !isNode(node));
  if (wrong) throw new TypeError(`${what}: node ${wrong[0]} must be { job, after, … }; it is ${shown(wrong[1])}.`);
  add(workflows, what, name, { graph: JSON.parse(JSON.stringify(graph)) });
}

function isNode(node) {
  return typeof node === 'string' || (isObject(node) && typeof node.job === 'string');
}

function isBackoff(value) {
  if (!isObject(value) || !hasOnly(value, { initial: 0, factor: 0, max: 0 })) return false;
  const { initial = 1000, factor = 2, max = DAY_MS } = value;
  const isFactor = typeof factor === 'number' && factor >= 1 && factor <= 100;
  return isWhole(initial, 0, DAY_MS) && isWhole(max, initial, DAY_MS) && isFactor;
}
