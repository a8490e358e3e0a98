// node:stream: the npm package that is Node's own code.

import stream from 'readable-stream/lib/ours/browser.js';
import * as promises from 'readable-stream/lib/stream/promises';

stream.promises = promises;

export { promises };
export default stream;
