// Runs the validator of a function or trigger before its handler. A failure is code 142.
// Source: the behaviour of Parse Server's CloudCode.Validator tests; texts are part of it.

import { toParseError } from '../outcome.js';
import { rolesOf } from './roles.js';

const VALIDATION_ERROR = 142;
const FAILED = { code: VALIDATION_ERROR, message: 'Validation failed.' };

/** Whether the master key lets this request pass by the handler altogether. */
export function isSkipped(options, request) {
  return options?.skipWithMasterKey === true && request.master;
}

/** @throws {Parse.Error} */
export async function validate(options, request, data) {
  if (options === undefined || options === null) return;
  try {
    if (typeof options === 'function') await options(request);
    else await checkRules(options, request, data);
  } catch (error) {
    throw toParseError(error, FAILED);
  }
}

async function checkRules(options, request, data) {
  if (request.master && !options.validateMasterKey) return;
  const user = request.user ?? newUserOf(request);
  checkCaller(options, request, user);
  await checkFields(options.fields, request);
  await checkRoles(options, user, data);
  await checkUserKeys(options.requireUserKeys, user);
}

/** Somebody who signs up is the user of that request. */
function newUserOf({ object }) {
  return object?.className === '_User' && !object.existed() ? object : undefined;
}

function checkCaller(
  { requireUser, requireAnyUserRoles, requireAllUserRoles, requireMaster },
  request,
  user,
) {
  if ((requireUser || requireAnyUserRoles || requireAllUserRoles) && !user) {
    throw 'Validation failed. Please login to continue.';
  }
  if (requireMaster && !request.master) {
    throw 'Validation failed. Master key is required to complete this request.';
  }
}

async function checkFields(fields, request) {
  if (!fields) return;
  const values = request.object ? request.object.toJSON() : (request.params ?? {});
  if (Array.isArray(fields)) {
    for (const key of fields) checkPresent(values, key);
    return;
  }
  const checks = [];
  for (const [key, rule] of Object.entries(fields)) {
    if (typeof rule === 'string') checkPresent(values, rule);
    else checks.push(checkField(key, rule, values, request));
  }
  await Promise.all(checks);
}

function checkPresent(values, key) {
  if (values[key] === undefined || values[key] === null) {
    throw `Validation failed. Please specify data for ${key}.`;
  }
}

async function checkField(key, rule, values, request) {
  if (hasDefault(rule) && isMissing(values[key])) {
    values[key] = rule.default;
    request.object?.set(key, rule.default);
  }
  if (rule.constant && request.object) keepConstant(key, rule, request);
  if (rule.required) checkPresent(values, key);
  if (!rule.required && values[key] === undefined) return;
  checkType(key, rule.type, values[key]);
  if (rule.options !== undefined) await checkOption(key, rule, values[key]);
}

function hasDefault(rule) {
  return rule.default !== undefined && rule.default !== null;
}

function isMissing(value) {
  return value === undefined || value === null;
}

function keepConstant(key, rule, { object, original }) {
  if (original) object.revert(key);
  else if (hasDefault(rule)) object.set(key, rule.default);
}

function checkType(key, type, value) {
  if (!type) return;
  const expected = type.name.toLowerCase();
  const actual = Array.isArray(value) ? 'array' : typeof value;
  if (actual !== expected) throw `Validation failed. Invalid type for ${key}. Expected: ${expected}`;
}

async function checkOption(key, { options, error }, value) {
  if (typeof options === 'function') return checkByFunction(key, options, error, value);
  const allowed = Array.isArray(options) ? options : [options];
  if (!allowed.includes(value)) {
    throw error ?? `Validation failed. Invalid option for ${key}. Expected: ${allowed.join(', ')}`;
  }
}

async function checkByFunction(key, options, error, value) {
  let verdict;
  try {
    verdict = await options(value);
  } catch (thrown) {
    throw error ?? thrown?.message ?? thrown ?? `Validation failed. Invalid value for ${key}.`;
  }
  if (!verdict && !isMissing(verdict)) throw error ?? `Validation failed. Invalid value for ${key}.`;
}

async function checkRoles({ requireAnyUserRoles, requireAllUserRoles }, user, data) {
  if (!requireAnyUserRoles && !requireAllUserRoles) return;
  const [roles, any, all] = await Promise.all([
    rolesOf(user, data),
    named(requireAnyUserRoles),
    named(requireAllUserRoles),
  ]);
  const has = (role) => roles.includes(`role:${role}`);
  if (any && !any.some(has)) throw 'Validation failed. User does not match the required roles.';
  if (all && !all.every(has)) throw 'Validation failed. User does not match all the required roles.';
}

function named(roles) {
  return typeof roles === 'function' ? roles() : roles;
}

async function checkUserKeys(keys, user) {
  if (!keys) return;
  if (!user) throw 'Please login to make this request.';
  if (Array.isArray(keys)) {
    for (const key of keys) {
      if (isMissing(user.get(key))) throw `Validation failed. Please set data for ${key} on your account.`;
    }
    return;
  }
  for (const [key, rule] of Object.entries(keys)) {
    if (rule?.options !== undefined) await checkOption(key, rule, user.get(key));
  }
}
