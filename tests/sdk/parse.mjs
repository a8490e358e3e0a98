// The SDK, initialised for the server under test; and what the scripts beside this share.

import assert from 'node:assert/strict';
import { createRequire } from 'node:module';

const { SDK_FROM, SERVER_URL, APP_ID, MASTER_KEY } = process.env;

/** The package `parse` as npm delivers it. */
export const Parse = createRequire(SDK_FROM)('parse/node');

Parse.initialize(APP_ID, undefined, MASTER_KEY);
Parse.serverURL = SERVER_URL;

/** The error's code is part of the protocol: clients branch on it. */
export async function rejectsWithCode(promise, code, message) {
  await assert.rejects(promise, (error) => {
    assert.ok(error instanceof Parse.Error, `not a Parse.Error: ${error}`);
    assert.equal(error.code, code, error.message);
    if (message !== undefined) assert.equal(error.message, message);
    return true;
  });
}

/** Runs the steps in order; each is named, so that a failure says where. */
export async function run(steps) {
  const tooLong = setTimeout(() => fail('took too long'), 60_000);
  for (const [name, step] of Object.entries(steps)) {
    await step().catch((error) => fail(`${name}: ${error.stack ?? error}\ncode: ${error.code}`));
    console.log(`ok: ${name}`);
  }
  clearTimeout(tooLong);
  console.log('all done');
}

function fail(why) {
  console.log(`FAILED: ${why}`);
  process.exit(1);
}
