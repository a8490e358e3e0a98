// The SDK's way to the server: instead of an HTTP request, a call to the host.

import Parse from 'parse/node';
import { callHost } from '../host.js';
import { config } from '../native.js';
import { base64Of } from '../web/bytes.js';

const { Error: ParseError } = Parse;

/** The path of the server's URL, which the SDK puts before the paths in a batch. */
const mount = config.serverUrl.replace(/^https?:\/\/[^/]*/, '').replace(/\/$/, '');

/**
 * @param {string} path relative to the server's mount, e.g. "classes/Order"
 * @param {object} options the SDK's: `{useMasterKey, sessionToken, installationId, context, returnStatus}`
 */
export async function request(method, path, data, options = {}) {
  refuseTables(path, data);
  const { answer } = callHost({
    kind: 'rest',
    method,
    path,
    body: path === 'batch' ? withoutMount(data) : (data ?? {}),
    useMasterKey: options.useMasterKey === true,
    sessionToken: typeof options.sessionToken === 'string' ? options.sessionToken : undefined,
    installationId: options.installationId,
    context: options.context,
  });
  try {
    const { status, body, headers } = await answer;
    return options.returnStatus ? { ...body, _status: status, _headers: headersOf(headers) } : body;
  } catch (refusal) {
    throw parseErrorOf(refusal);
  }
}

const CLASS_PATH = /(?:^|\/)classes\/([^/?]*)/;

/** Objects of a table that is no Parse class can be looked at in after-triggers, and no more. */
function refuseTables(path, data) {
  const paths = path === 'batch' ? data.requests.map((item) => item.path) : [path];
  for (const name of paths.map((one) => CLASS_PATH.exec(one)?.[1])) {
    if (!name?.includes('.')) continue;
    throw new ParseError(
      ParseError.INVALID_CLASS_NAME,
      `${name} is a table and no Parse class: its rows cannot be saved, destroyed, fetched or queried through Parse. ` +
        'Make it a class of the schema, or write it by SQL from another program.',
    );
  }
}

export function parseErrorOf({ code, message }) {
  return new ParseError(Number.isInteger(code) ? code : ParseError.CONNECTION_FAILED, String(message));
}

function withoutMount(batch) {
  const requests = batch.requests.map((item) => ({
    ...item,
    path: item.path.startsWith(`${mount}/`) ? item.path.slice(mount.length) : item.path,
  }));
  return { ...batch, requests };
}

/** These are read by their exact names. */
const EXPOSED = ['X-Parse-Job-Status-Id', 'X-Parse-Push-Status-Id', 'X-Tidegate-Workflow-Id'];

function headersOf(headers = []) {
  const named = {};
  for (const [name, value] of headers) {
    named[EXPOSED.find((exposed) => exposed.toLowerCase() === name.toLowerCase()) ?? name] = value;
  }
  return named;
}

/** What the SDK still sends by URL: the bytes of a file, and the deletion of one. */
async function ajax(method, url, data, headers = {}, options = {}) {
  const path = url.replace(config.serverUrl.replace(/\/$/, ''), '').replace(/^\//, '');
  const body = data ? { base64: await base64Of(data), _ContentType: headers['Content-Type'] } : {};
  return { status: 200, response: await request(method, path, body, options) };
}

function handleError(error) {
  return Promise.reject(error instanceof ParseError ? error : parseErrorOf(error ?? {}));
}

export const restController = { request, ajax, handleError };
