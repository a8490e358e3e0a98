// node:fs: there are no files. Looking for one finds nothing, which is what packages expect of an absent file.

import { unavailable } from './unavailable.js';

const REMEDY = 'Handlers have no files: import the file in your code, or keep it in a Parse.File.';

function absent(call, path) {
  const error = new Error(`ENOENT: no such file or directory, ${call} '${path}' (cloud code has no files)`);
  return Object.assign(error, { code: 'ENOENT', errno: -2, syscall: call, path: String(path) });
}

function sync(call) {
  return (path) => {
    throw absent(call, path);
  };
}

function callback(call) {
  return (path, ...args) => {
    const done = args.at(-1);
    queueMicrotask(() => done(absent(call, path)));
  };
}

const READERS = ['access', 'lstat', 'open', 'readFile', 'readdir', 'readlink', 'realpath', 'stat'];

export const promises = unavailable(
  'fs.promises',
  REMEDY,
  Object.fromEntries(READERS.map((name) => [name, async (path) => Promise.reject(absent(name, path))])),
);

export default unavailable('fs', REMEDY, {
  ...Object.fromEntries(READERS.map((name) => [name, callback(name)])),
  ...Object.fromEntries(READERS.map((name) => [`${name}Sync`, sync(name)])),
  existsSync: () => false,
  promises,
  constants: { F_OK: 0, R_OK: 4, W_OK: 2, X_OK: 1 },
});
