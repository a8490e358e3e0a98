// URL and URLSearchParams: the engine has none.

import UrlPolyfill from 'core-js-pure/actual/url';
import UrlSearchParamsPolyfill from 'core-js-pure/actual/url-search-params';

export const URL = UrlPolyfill;
export const URLSearchParams = UrlSearchParamsPolyfill;
