// What ops/bench measures. Tidegate and Parse Server load this same file.

Parse.Cloud.define("hello", async (request) => {
  return `Hello, ${request.params.name || "world"}!`;
});

Parse.Cloud.beforeSave("Item", (request) => {
  const item = request.object;
  if (!item.get("name")) {
    throw new Parse.Error(Parse.Error.VALIDATION_ERROR, "an item needs a name");
  }
  item.set("name", item.get("name").trim());
  if (!item.has("quantity")) {
    item.set("quantity", 1);
  }
});

// Commit to handler: when each handler began, by the isolate's own clock. Sound only with one isolate.
const begins = new Map();

Parse.Cloud.afterSave("Probe", (request) => {
  const now = performance.now();
  begins.set(request.object.id, now);
});

// Date.now() counts whole milliseconds; performance.now() is finer, but from an origin of its own. At the instant
// when Date.now() moves on, their difference is the origin.
Parse.Cloud.define("probeReset", () => {
  begins.clear();
  const before = Date.now();
  while (Date.now() === before);
  return Date.now() - performance.now();
});

Parse.Cloud.define("probeBegins", () => Object.fromEntries(begins));

Parse.Cloud.define("probeCount", () => begins.size);

// COPY to handler: the least that a handler can be.
Parse.Cloud.afterSave("Copied", () => {});

// Jobs: the least that a job can be. Parse Server has jobs as well, and never gets here.
Parse.Cloud.job("nothing", () => Date.now());

// The id of the first.
Parse.Cloud.define("startRuns", async (request) => {
  const ids = [];
  for (let left = request.params.count; left > 0; left -= 100) {
    const starts = Array.from({ length: Math.min(left, 100) }, () => Parse.Cloud.startJob("nothing", {}));
    ids.push(...(await Promise.all(starts)));
  }
  return ids.sort()[0];
});
