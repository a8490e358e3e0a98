// What QuickJS runs as it is, and what esbuild must write in other words.

export const TARGET = 'es2023';

/** A for-await loop awaits in places where scope-pass.mjs could put nothing. */
export const LOWERED = { 'for-await': false };
