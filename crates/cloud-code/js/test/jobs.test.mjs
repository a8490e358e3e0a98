import assert from 'node:assert/strict';
import { test } from 'node:test';
import { gate, Isolate } from './engine.mjs';

/** `now`: a clock that stands, for what is counted in milliseconds. */
function isolateWith(body, answer = () => null, now = undefined) {
  const isolate = new Isolate({ answer, now });
  isolate.load(`Parse.Cloud.job('j', async (request) => { ${body} });`);
  return isolate;
}

const run = (isolate, request = {}) =>
  isolate.run({ job: 'j' }, { jobName: 'j', jobId: 'R000000001', params: {}, master: true, ...request });

const said = ({ calls }) => calls.filter(({ kind }) => kind === 'job').map(({ runId, kind, ...rest }) => rest);

function refusedAtLoad(source) {
  const isolate = new Isolate();
  try {
    isolate.load(source);
    isolate.manifest();
  } catch (error) {
    return error.message;
  }
  return 'not refused';
}

test('options of jobs are checked, and reach the manifest as they were given', () => {
  const optionsOf = (source) => {
    const isolate = new Isolate();
    isolate.load(source);
    return isolate.manifest().jobs[0].options;
  };
  const options = "{ retries: 0, backoff: { initial: 5, factor: 1.5, max: 5 }, timeout: 1, keyConcurrency: 3, concurrency: undefined }";
  const expected = { retries: 0, backoff: { initial: 5, factor: 1.5, max: 5 }, timeout: 1, keyConcurrency: 3 };
  assert.deepEqual(optionsOf(`Parse.Cloud.job('a', ${options}, () => {})`), expected);
  assert.deepEqual(optionsOf(`Parse.Cloud.job('a', () => {}, ${options})`), expected);
  assert.deepEqual(optionsOf("Parse.Cloud.job('a', () => {})"), {});
  const wrong = [
    ['{ retries: -1 }', 'job a: retries must be a whole number from 0 to 1000; it is -1.'],
    ["{ retries: '3' }", "retries must be a whole number from 0 to 1000; it is '3'."],
    ['{ timeout: 0 }', 'job a: timeout must be milliseconds'],
    ['{ backoff: { initial: 10, max: 5 } }', 'max not below initial'],
    ['{ backoff: { first: 1 } }', 'job a: backoff must be'],
    ['{ concurrency: 0 }', 'concurrency must be a whole number from 1 to 100000'],
    ["{ description: '' }", 'description must be a text of 1 to 1000 characters'],
    ['{ attempts: 3 }', 'job a: there is no option attempts; there are retries, backoff,'],
    ['7', 'job a: the options must be an object; they are 7.'],
    ['null', 'the options must be an object'],
  ];
  for (const [options, text] of wrong) {
    assert.ok(refusedAtLoad(`Parse.Cloud.job('a', ${options}, () => {})`).includes(text), options);
  }
  assert.match(refusedAtLoad("Parse.Cloud.job('a', {})"), /The handler of a must be a function/);
  assert.match(refusedAtLoad("Parse.Cloud.job('', () => {})"), /The name of a job must have 1 to 200 characters/);
  assert.match(refusedAtLoad("Parse.Cloud.job('a\\nb', () => {})"), /none of them a control character/);
});

test('schedules and workflows of a wrong shape are refused by name', () => {
  const schedule = (options, target = "'a'") =>
    refusedAtLoad(`Parse.Cloud.job('a', () => {}); Parse.Cloud.schedule('s', ${options}, ${target})`);
  const wrong = [
    ['{}', 'schedule s: exactly one of cron, every, daily, weekly, monthly, once says when it is due; there is none.'],
    ["{ cron: '* * * * *', every: 5 }", 'there are cron and every.'],
    ['{ cron: 5 }', 'schedule s: cron must be a text; it is 5.'],
    ["{ every: '1m', missed: 'most' }", "missed must be 'skip', 'one', 'all' or { all: <most> }; it is 'most'."],
    ["{ every: '1m', overlap: true }", "overlap must be 'skip', 'queue', 'allow' or 'cancel'; it is true."],
    ["{ every: '1m', params: [] }", 'params must be an object; it is [].'],
    ["{ every: '1m', retries: 1.5 }", 'retries must be a whole number'],
    ["{ every: '1m', tz: 'UTC' }", 'there is no option tz'],
  ];
  for (const [options, text] of wrong) assert.ok(schedule(options).includes(text), options);
  assert.match(schedule("{ every: '1m' }", 'undefined'), /what it starts must be the name of a job, or a handler/);
  assert.equal(schedule("{ every: '1m' }", "'b'"), 'schedule s: there is no job b.');
  const later = "Parse.Cloud.schedule('s', { every: 60000 }, 'w'); Parse.Cloud.workflow('w', ['a']); Parse.Cloud.job('a', () => {})";
  assert.equal(refusedAtLoad(later), 'not refused');
  for (const graph of ['undefined', '{}', "[{ after: ['a'] }]", "{ nodes: ['a'] }", '"a"']) {
    assert.match(refusedAtLoad(`Parse.Cloud.workflow('w', ${graph})`), /workflow w: the graph must be/, graph);
  }
  assert.match(refusedAtLoad("Parse.Cloud.workflow('w', { nodes: { a: { jobs: 'x' } } })"), /workflow w: node a must be/);
});

test('parallel steps have their own writes, also after awaits and in callbacks', async () => {
  const save = "const save = (n) => new Parse.Object('A').set('n', n).save(null, { useMasterKey: true });";
  const isolate = isolateWith(
    `${save}
    await save(0);
    await Promise.all(['one', 'two'].map((name) => request.step(name, async () => {
      await null; await save(1);
      await new Promise((done) => queueMicrotask(() => save(2).then(done)));
    })));
    await save(3);
    await fetch('https://a.b/', { method: 'POST' });`,
    ({ kind, body }) => (kind === 'rest' ? { status: 201, body: { objectId: `${body.n}` }, headers: [] } : { status: 200, headers: [] }),
  );
  assert.equal((await run(isolate)).threw, undefined);
  const steps = (n) => isolate.calls.filter(({ body }) => body?.n === n).map(({ step }) => step);
  assert.deepEqual([steps(0), steps(1), steps(2), steps(3)], [[undefined], ['one', 'two'], ['one', 'two'], [undefined]]);
  assert.deepEqual(said(isolate).map(({ name, step }) => [name, step]), [['one', undefined], ['two', undefined]]);
  assert.equal(isolate.calls.at(-1).step, undefined);
});

test('a remembered step is not made; one that throws is not remembered', async () => {
  const isolate = isolateWith(`
    const called = [];
    const one = await request.step('one', () => called.push(1));
    const failed = await request.step('two', () => { throw new RangeError('no') }).catch((error) => error.name);
    const again = await request.step('two', () => 1).catch((error) => error.message);
    const proto = await request.step('toString', () => 'made');
    return { one: one.at.getTime(), called, failed, again, proto };`);
  const steps = { one: { at: { __type: 'Date', iso: '1970-01-01T00:00:01.000Z' } } };
  const { returned } = await run(isolate, { steps });
  assert.deepEqual(returned, {
    one: 1000,
    called: [],
    failed: 'RangeError',
    again: "The step 'two' was made twice in this attempt: each step needs a name of its own.",
    proto: 'made',
  });
  assert.deepEqual(said(isolate), [{ op: 'step', name: 'toString', value: 'made' }]);
});

test('a step is over when the host has it, and fails when the host refuses', async () => {
  const { promise, resolve } = gate();
  const isolate = isolateWith("await request.step('a', () => 1); console.log('after')", () => promise);
  const outcome = run(isolate);
  await isolate.settle();
  assert.deepEqual(isolate.logs, []);
  resolve(null);
  await outcome;
  assert.equal(isolate.logs[0].text, 'after');
  const refusing = isolateWith("await request.step('a', () => 1)", () => {
    throw { code: 119, message: 'the run is no longer yours' };
  });
  assert.equal((await run(refusing)).threw.code, 119);
});

test('what JSON would lose is no result of a step', async () => {
  const cases = [
    ['() => {}', 'it is a function'],
    ['1n', 'it is a bigint'],
    ['{ a: [{ b: Symbol() }] }', 'a[0].b is a symbol'],
    ['new Map()', 'it is a Map'],
    ['{ n: 0 / 0 }', 'n is NaN'],
    ['(() => { const a = {}; a.a = a; return a })()', 'cannot be kept as JSON'],
    ["'ä'.repeat(131072)", 'is too large: 262146 bytes of at most 262144.'],
  ];
  for (const [result, text] of cases) {
    const { threw } = await run(isolateWith(`await request.step('s', () => (${result}))`));
    assert.ok(threw.message.startsWith("The result of the step 's'") && threw.message.includes(text), threw.message);
  }
  for (const result of ["'ä'.repeat(131071)", 'undefined', '{ a: undefined }', 'Object.create(null)', 'new Date(0)', "new Parse.GeoPoint(1, 2)"]) {
    assert.equal((await run(isolateWith(`await request.step('s', () => (${result}))`))).threw, undefined, result);
  }
});

test('sleeps are counted, and skipped when their time has come', async () => {
  const isolate = isolateWith(`
    await request.sleep(-1).catch((error) => console.log(error.message));
    await request.sleep(new Date(Date.now() + 1000));
    await request.sleep(60000);
    return 'done';`);
  const untilMs = Date.now() + 5000;
  assert.equal((await run(isolate, { sleeps: { 'sleep 1': 1, 'sleep 2': untilMs } })).returned, 'done');
  assert.deepEqual(said(isolate), [{ op: 'sleep', name: 'sleep 2', untilMs }]);
  assert.match(isolate.logs[0].text, /request.sleep takes milliseconds, a Date/);
});

test('progress is sent at once, then at most each 250 ms, and at the end', async () => {
  const isolate = isolateWith(`
    const { progress } = request;
    progress(1, 10, 'a');
    progress(2, 10, 'b');
    progress(3, 10);
    await request.message('wait');
    progress(4);
    return 'done';`);
  const outcome = run(isolate);
  await isolate.settle();
  assert.equal((await outcome).returned, 'done');
  assert.deepEqual(said(isolate), [
    { op: 'progress', done: 1, total: 10, message: 'a' },
    { op: 'message', text: 'wait' },
    { op: 'progress', done: 4, message: 'b' },
  ]);
  assert.equal(isolate.timers.size, 0, 'nothing keeps the run open');
});

test('a progress that waits is sent by a timer of the run', async () => {
  const { promise, resolve } = gate();
  const isolate = isolateWith(
    "request.progress(1); request.progress(2); await request.message('wait')",
    ({ op }) => (op === 'message' ? promise : null),
    () => 1000,
  );
  const outcome = run(isolate);
  await isolate.settle();
  const [timer] = isolate.timers.values();
  assert.deepEqual([timer.runId, timer.ms], [1, 250]);
  isolate.fireTimers();
  await isolate.settle();
  assert.deepEqual(said(isolate).map(({ done }) => done), [1, undefined, 2]);
  resolve(null);
  await outcome;
});

test('a progress that the host refuses is a warning, a message an error', async () => {
  const isolate = isolateWith("request.progress(1); await request.message('x')", () => {
    throw { code: 119, message: 'not yours' };
  });
  assert.equal((await run(isolate)).threw.message, 'not yours');
  await isolate.settle();
  assert.deepEqual(isolate.logs, [{ runId: 1, level: 'warn', text: 'request.progress: not yours' }]);
});

test('messages are sent at once, then at most each 250 ms, and at the end', async () => {
  const isolate = isolateWith(`
    const { message } = request;
    await message('first');
    for (let n = 0; n < 1000; n += 1) {
      await message('turn ' + n);
      console.log('not held up');
    }
    message(5);
    message('last');
    return 'done';`);
  assert.equal((await run(isolate)).returned, 'done');
  assert.deepEqual(said(isolate).map(({ text }) => text), ['first', 'last']);
  assert.equal(isolate.logs.length, 1000);
  assert.equal(isolate.timers.size, 0, 'nothing keeps the run open');
});

test('a message that waits is sent by a timer of the run, and before it sleeps', async () => {
  const isolate = isolateWith(`
    await request.message('first');
    await request.message('second');
    await new Promise((resolve) => setTimeout(resolve, 300));
    request.message('third');
    request.message('fourth');
    await request.sleep(60000);`, undefined, () => 1000);
  const outcome = run(isolate);
  await isolate.settle();
  assert.deepEqual(said(isolate).map(({ text }) => text), ['first']);
  const waits = [...isolate.timers.values()].filter(({ ms }) => ms <= 250);
  assert.deepEqual(waits.map(({ runId, ms }) => [runId, ms]), [[1, 250]]);
  isolate.fireTimers();
  await outcome;
  assert.deepEqual(said(isolate).map(({ op, text }) => text ?? op), ['first', 'second', 'fourth', 'sleep']);
});

test('a message that the host refuses later is a warning', async () => {
  const isolate = isolateWith("await request.message('first'); await request.message('second')", ({ text }) => {
    if (text === 'second') throw { code: 119, message: 'not yours' };
    return null;
  });
  assert.equal((await run(isolate)).threw, undefined);
  assert.equal(isolate.logs[0].text, 'request.message: not yours');
});

test('the signal is fired for its run alone, also before anybody looks', async () => {
  const isolate = isolateWith(`
    if (request.params.late) await new Promise((resolve) => setTimeout(resolve, 1));
    const { signal } = request;
    if (!signal.aborted) await new Promise((resolve) => signal.addEventListener('abort', () => request.message('told').then(resolve)));
    return [signal.aborted, signal.reason.name];`);
  const first = run(isolate);
  const late = run(isolate, { params: { late: true } });
  isolate.runtime.abort(1);
  isolate.runtime.abort(99);
  assert.deepEqual((await first).returned, [true, 'AbortError']);
  isolate.runtime.abort(2);
  isolate.fireTimers();
  assert.deepEqual((await late).returned, [true, 'AbortError']);
  assert.deepEqual(isolate.calls.map(({ runId, text }) => [runId, text]), [[1, 'told']]);
});

test('a job says when it is tried again, and whether', async () => {
  const { threw } = await run(isolateWith("request.retryAfter(2, 'later')"));
  assert.deepEqual([threw.retryAfterMs, threw.message], [2000, 'later']);
  assert.equal((await run(isolateWith('request.giveUp()'))).threw.noRetry, true);
});

test('startJob, startWorkflow and cancelJob', async () => {
  const headers = [['x-parse-job-status-id', 'R000000002'], ['x-tidegate-workflow-id', 'W000000003']];
  const isolate = isolateWith(
    `return [
      await Parse.Cloud.startJob('a', { at: new Date(0) }, { delay: 5, runAt: new Date(0) }),
      await Parse.Cloud.startJob('a'),
      await Parse.Cloud.startWorkflow('w', { n: 1 }),
      await Parse.Cloud.cancelJob('R000000002'),
      await Parse.Cloud.startJob('a', {}, 7).catch((error) => error.message),
      await Parse.Cloud.startJob('').catch((error) => error.message),
    ]`,
    () => ({ status: 200, body: {}, headers }),
  );
  const ids = ['R000000002', 'R000000002', 'W000000003', null];
  const refusals = ['The options of a start must be an object; they are 7.', 'Cloud job name must be a string.'];
  assert.deepEqual((await run(isolate)).returned, [...ids, ...refusals]);
  const at = { __type: 'Date', iso: '1970-01-01T00:00:00.000Z' };
  assert.deepEqual(
    isolate.calls.map(({ method, path, body, useMasterKey }) => [method, path, body, useMasterKey]),
    [
      ['POST', 'jobs/a', { at, _jobOptions: { delay: 5, runAt: at.iso } }, true],
      ['POST', 'jobs/a', {}, true],
      ['POST', 'workflows/w', { n: 1 }, true],
      ['POST', 'cloud_code/runs/R000000002/cancel', {}, true],
    ],
  );
});
