// A request to somebody else's API, from a job.

/**
 * Posts `body` as JSON.
 *
 * It is sent with an Idempotency-Key that is the same in each attempt of the run; Tidegate makes it. What the answer
 * means for the run is decided here, once: too much or not now, wait as long as they say; refused, no further attempt;
 * anything else, the next attempt as the job's backoff has it.
 */
exports.postJson = async function postJson(request, url, body) {
  const response = await fetch(url, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(body),
    // Ends it when the run is cancelled.
    signal: request.signal,
  });
  if (response.ok) return;
  const problem = `${url} answered ${response.status}: ${(await response.text()).slice(0, 200)}`;
  if (response.status === 429 || response.status === 503) {
    request.retryAfter(response.headers.get("retry-after") ?? 60, problem);
  }
  if (response.status >= 400 && response.status < 500) request.giveUp(problem);
  throw new Error(problem);
};
