// node:path, POSIX only.

import path from 'path-browserify';

path.posix = path;
path.win32 ??= path;

export default path;
