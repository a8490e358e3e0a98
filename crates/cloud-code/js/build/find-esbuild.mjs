// Where esbuild is: beside this file, or, when the runtime was installed without it, in the user's project.

import { createRequire } from 'node:module';
import { join } from 'node:path';

/** @throws {Error} saying how to get it */
export async function findEsbuild(projectRoot) {
  for (const from of [
    import.meta.url,
    join(projectRoot, 'package.json'),
    join(projectRoot, 'cloud', 'package.json'),
  ]) {
    try {
      return await import(createRequire(from).resolve('esbuild'));
    } catch (error) {
      if (error.code !== 'MODULE_NOT_FOUND') throw error;
    }
  }
  throw new Error(
    'Cannot find esbuild, which bundles cloud code. Install it: npm install --save-dev esbuild',
  );
}
