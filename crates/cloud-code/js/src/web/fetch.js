// fetch. The host does the HTTP: an isolate has no sockets.

import { abandon, callHost } from '../host.js';
import { native } from '../native.js';
import { Request, Response } from './request-response.js';

/** @returns {Promise<Response>} rejects with a TypeError, as fetch does, when there is no answer */
export async function fetch(input, init) {
  const request = input instanceof Request && init === undefined ? input : new Request(input, init);
  const { signal } = request;
  signal?.throwIfAborted();
  const bytes = await request.bytes();
  const { id, answer } = callHost({
    kind: 'fetch',
    method: request.method,
    url: request.url,
    headers: [...request.headers],
    body: bytes.length > 0 ? native.base64Encode(bytes) : null,
    redirect: request.redirect,
  });
  try {
    return responseOf(await (signal ? orAborted(answer, signal, id) : answer));
  } catch (refusal) {
    throw signal?.aborted ? signal.reason : failureOf(refusal);
  }
}

function orAborted(answer, signal, callId) {
  return new Promise((resolve, reject) => {
    const giveUp = () => {
      abandon(callId);
      reject(signal.reason);
    };
    signal.addEventListener('abort', giveUp, { once: true });
    answer.then(resolve, reject).finally(() => signal.removeEventListener('abort', giveUp));
  });
}

function responseOf({ status, statusText, url, redirected, headers, body }) {
  const hasBody = typeof body === 'string' && body !== '' && ![204, 205, 304].includes(status);
  const response = new Response(hasBody ? native.base64Decode(body) : null, { status, statusText, headers });
  return Object.assign(response, { url, redirected: redirected === true, type: 'basic' });
}

function failureOf({ name, message }) {
  if (name === 'AbortError' || name === 'TimeoutError') return new DOMException(message, name);
  const error = new TypeError('fetch failed');
  error.cause = new Error(message);
  return error;
}
