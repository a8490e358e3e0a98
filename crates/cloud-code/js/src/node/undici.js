// The package undici, as far as it is fetch.

import { File } from '../web/blob.js';
import { fetch } from '../web/fetch.js';
import { FormData } from '../web/form-data.js';
import { Headers } from '../web/headers.js';
import { Request, Response } from '../web/request-response.js';
import { unavailable } from './unavailable.js';

export default unavailable('undici', 'Handlers have no sockets: use fetch().', {
  fetch,
  File,
  FormData,
  Headers,
  Request,
  Response,
  setGlobalDispatcher() {},
  getGlobalDispatcher: () => undefined,
});
