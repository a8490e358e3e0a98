// beforeFind and afterFind.

import { encode } from '../parse/encode.js';
import { Parse } from '../parse/sdk.js';
import { objectFrom, triggerRequest } from './common.js';
import { lazy } from './lazy.js';

const READ_OPTIONS = ['readPreference', 'includeReadPreference', 'subqueryReadPreference'];

/** Answers the query to run: the client's as the handler left it, or the one it returned. */
export function beforeFind(className, data) {
  const request = triggerRequest(data);
  const query = lazy(request, 'query', () => queryFrom(className, data.query));
  request.count = data.count === true;
  request.isGet = data.isGet === true;
  return {
    request,
    answer(result) {
      const replacement = result instanceof Parse.Query ? result : query.used() ? request.query : null;
      const json = replacement instanceof Parse.Query ? replacement.toJSON() : { ...data.query };
      for (const name of READ_OPTIONS) if (request[name] !== undefined) json[name] = request[name];
      return { query: json, context: request.context };
    },
  };
}

/** Answers the objects to show. */
export function afterFind(className, data) {
  const request = triggerRequest(data);
  lazy(request, 'query', () => queryFrom(className, data.query));
  const objects = lazy(request, 'objects', () => data.objects.map((json) => objectFrom(className, json)));
  return {
    request,
    answer: (result) => ({
      objects: result || objects.used() ? shown(result || request.objects) : data.objects,
      context: request.context,
    }),
  };
}

function queryFrom(className, json = {}) {
  const query = new Parse.Query(className).withJSON(json);
  // withJSON passes over a limit of 0, which is how a client asks for the count alone.
  return json.limit === 0 ? query.limit(0) : query;
}

function shown(objects) {
  if (!Array.isArray(objects)) return encode(objects);
  return objects.map((object) => (object instanceof Parse.Object ? object.toJSON() : encode(object)));
}
