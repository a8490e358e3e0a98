// esbuild's errors as the host shows them, with what to do about a missing module.

const UNRESOLVED = /^Could not resolve "([^"]+)"/;

/** @returns {{text: string, file: string | null, line: number | null, column: number | null, lineText: string | null}[]} */
export function describeErrors(errors) {
  return errors.map(({ text, location }) => ({
    text: UNRESOLVED.test(text) ? missing(UNRESOLVED.exec(text)[1]) : text,
    file: location?.file ?? null,
    line: location?.line ?? null,
    column: location ? location.column + 1 : null,
    lineText: location?.lineText ?? null,
  }));
}

function missing(specifier) {
  if (/^[./]/.test(specifier)) return `Cannot find the file "${specifier}".`;
  const [first, second] = specifier.split('/');
  const name = first.startsWith('@') ? `${first}/${second}` : first;
  const remedy = `Install it in cloud/ or in the project's folder: npm install ${name}`;
  return specifier === name
    ? `Cannot find the package "${name}". ${remedy}`
    : `Cannot find "${specifier}" of the package "${name}". ${remedy}, or check the path.`;
}
