// The host's functions, captured before user code runs, and taken from its sight.

export const native = globalThis.__native;
delete globalThis.__native;

/** @type {{serverUrl: string, applicationId: string, javascriptKey?: string}} */
export const config = JSON.parse(native.config);
