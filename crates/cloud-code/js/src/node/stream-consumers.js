// node:stream/consumers.

import { Blob } from '../web/blob.js';
import { concat, decodeUtf8, encodeUtf8, viewOf } from '../web/bytes.js';

async function bytes(stream) {
  const chunks = [];
  for await (const chunk of stream)
    chunks.push(typeof chunk === 'string' ? encodeUtf8(chunk) : viewOf(chunk));
  return concat(chunks);
}

export default {
  arrayBuffer: async (stream) => (await bytes(stream)).buffer,
  blob: async (stream) => new Blob([await bytes(stream)]),
  buffer: async (stream) => globalThis.Buffer.from((await bytes(stream)).buffer),
  text: async (stream) => decodeUtf8(await bytes(stream)),
  json: async (stream) => JSON.parse(decodeUtf8(await bytes(stream))),
};
