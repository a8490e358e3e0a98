// The roles of a request's user, as "role:Name", those inherited included.

import { Parse } from '../parse/sdk.js';

const MASTER = { useMasterKey: true };

/** @param {{userRoles?: string[]}} data the host's request; it may know the roles already */
export async function rolesOf(user, data) {
  if (Array.isArray(data.userRoles)) return data.userRoles;
  const known = new Map();
  let found = await new Parse.Query(Parse.Role).equalTo('users', user).limit(1000).find(MASTER);
  while (found.length > 0) {
    for (const role of found) known.set(role.id, role.get('name'));
    const parents = await rolesAbove(found);
    found = parents.filter((role) => !known.has(role.id));
  }
  return [...known.values()].map((name) => `role:${name}`);
}

function rolesAbove(roles) {
  const queries = roles.map((role) => new Parse.Query(Parse.Role).equalTo('roles', role));
  return Parse.Query.or(...queries)
    .limit(1000)
    .find(MASTER);
}
