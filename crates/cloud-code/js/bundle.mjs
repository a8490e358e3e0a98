// Bundles a project's cloud code:  node bundle.mjs <entry>
//
// Prints one JSON object: {code, map, inputs}, where map is the source map as a string, or
// {errors: [{text, file, line, column, lineText}]} with lines and columns from 1. The working directory is the
// project's folder.

import { resolve } from 'node:path';
import { bundleProject } from './build/bundle-project.mjs';

const [entry] = process.argv.slice(2);
if (entry === undefined) {
  console.error('usage: node bundle.mjs <entry>');
  process.exit(2);
}

let result;
try {
  result = await bundleProject(resolve(entry), process.cwd());
} catch (error) {
  result = { errors: [{ text: error.message, file: null, line: null, column: null, lineText: null }] };
}
process.stdout.write(JSON.stringify(result) + '\n');
process.exitCode = result.errors ? 1 : 0;
