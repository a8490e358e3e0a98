// Makes the world that the SDK and cloud code expect. Imported first: the SDK looks at `process` while it loads,
// to learn that it is on a server, where objects of one id must not share their state.

import { installErrors } from './errors.js';
import { installGlobals } from './globals.js';
import { installScope } from './scope.js';

installErrors();
installScope();
installGlobals();
