// The third argument of define and of the triggers, checked when it is given.
// Source: Parse Server's guide, "Cloud Function validation"; texts as in its triggers tests.

const TYPES = {
  fields: ['array', 'object'],
  requireAllUserRoles: ['array', 'function'],
  requireAnyUserRoles: ['array', 'function'],
  requireMaster: ['boolean'],
  requireUser: ['boolean'],
  requireUserKeys: ['array', 'object'],
  skipWithMasterKey: ['boolean'],
  validateMasterKey: ['boolean'],
  rateLimit: ['array', 'object'],
};

const FIELD_TYPES = {
  constant: ['boolean'],
  default: null,
  error: ['string'],
  options: ['array', 'function', 'string', 'number', 'boolean'],
  required: ['boolean'],
  type: ['function'],
};

const USER_KEY_TYPES = { error: FIELD_TYPES.error, options: FIELD_TYPES.options };

/** @throws {Error} naming the key that no validator has, or whose value is of the wrong type */
export function checkOptions(options) {
  if (options === undefined || options === null || typeof options === 'function') return;
  if (typeof options !== 'object')
    throw new Error('A Cloud Function validator must be a function or an object.');
  checkTypes(options, TYPES);
  for (const rule of rulesOf(options.fields)) checkTypes(rule, FIELD_TYPES);
  for (const rule of rulesOf(options.requireUserKeys)) checkTypes(rule, USER_KEY_TYPES);
}

function rulesOf(rules) {
  if (!rules || Array.isArray(rules)) return [];
  return Object.values(rules).filter((rule) => rule !== null && typeof rule === 'object');
}

function checkTypes(values, types) {
  for (const [key, value] of Object.entries(values)) {
    if (!(key in types))
      throw new Error(`${key} is not a supported parameter for Cloud Function validations.`);
    const expected = types[key];
    const actual = Array.isArray(value) ? 'array' : typeof value;
    if (expected && !expected.includes(actual)) {
      throw new Error(
        `Invalid type for Cloud Function validation key ${key}. Expected ${expected.join('|')}, actual ${actual}`,
      );
    }
  }
}
