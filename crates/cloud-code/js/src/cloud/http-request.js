// Parse.Cloud.httpRequest: gone from Parse Server 8, still in much cloud code. A layer over fetch.

import { fetch } from '../web/fetch.js';
import { URLSearchParams } from '../web/url.js';

/**
 * @param {object} options `{url, method, headers, body, params, followRedirects, success, error}`
 * @returns {Promise<object>} `{status, headers, text, data, buffer, cookies}`; rejects with it from status 400 on
 */
export function httpRequest(options) {
  const promise = send(options);
  if (options.success || options.error) promise.then(options.success, options.error);
  return promise;
}

async function send({ url, method = 'GET', headers = {}, body, params, followRedirects = false }) {
  const sent = { ...headers };
  const response = await fetch(withParams(url, params), {
    method,
    headers: sent,
    body: encodedBody(body, sent, method),
    redirect: followRedirects ? 'follow' : 'manual',
  });
  const answer = await describe(response);
  if (answer.status >= 400) throw answer;
  return answer;
}

function withParams(url, params) {
  if (!params) return url;
  const query =
    typeof params === 'string' ? params.replace(/^\?/, '') : new URLSearchParams(params).toString();
  return url + (url.includes('?') ? '&' : '?') + query;
}

function encodedBody(body, headers, method) {
  if (body === undefined || body === null || method === 'GET' || method === 'HEAD') return undefined;
  if (typeof body !== 'object' || ArrayBuffer.isView(body)) return body;
  const name = Object.keys(headers).find((key) => key.toLowerCase() === 'content-type');
  if (name && headers[name].includes('application/json')) return JSON.stringify(body);
  if (!name) headers['Content-Type'] = 'application/x-www-form-urlencoded';
  return new URLSearchParams(body).toString();
}

async function describe(response) {
  const { Buffer } = globalThis;
  const buffer = Buffer.from(await response.arrayBuffer());
  const text = buffer.toString('utf8');
  return {
    status: response.status,
    headers: Object.fromEntries(response.headers),
    buffer,
    text,
    get data() {
      return JSON.parse(text);
    },
    cookies: cookiesOf(response.headers.getSetCookie()),
  };
}

function cookiesOf(lines) {
  const cookies = {};
  for (const line of lines) {
    const [pair] = line.split(';');
    const at = pair.indexOf('=');
    if (at > 0)
      cookies[pair.slice(0, at).trim()] = {
        name: pair.slice(0, at).trim(),
        value: pair.slice(at + 1).trim(),
      };
  }
  return cookies;
}
