// Every night: visits older than `params.days` are deleted, some hundred at a time.

const settings = require("../settings");

const MASTER = { useMasterKey: true };
const DAY_MS = 86_400_000;
const BATCH = 500;
const Visit = Parse.Object.extend("Visit");

const nightly = {
  cron: "30 3 * * *",
  timezone: settings.timezone,
  params: { days: 90 },
  // After an outage of three nights one run is enough.
  missed: "one",
};
Parse.Cloud.schedule("nightlyCleanup", nightly, "nightlyCleanup");

const options = { concurrency: 1, description: "Deletes old visits" };

Parse.Cloud.job("nightlyCleanup", options, async (request) => {
  const { days } = request.params;
  // No attempt will make this right, so there should be none.
  if (!Number.isFinite(days) || days < 0) request.giveUp("days must be a number from 0");

  const before = await request.step("before", () => new Date(Date.now() - days * DAY_MS));
  let deleted = 0;
  for (let batch = 1; ; batch += 1) {
    // First choose, then delete: what was chosen is remembered, so a repeated attempt deletes the same rows, and each
    // row is counted once.
    const ids = await request.step(`choose ${batch}`, () => visitsBefore(before));
    if (ids.length === 0) break;
    await request.step(`delete ${batch}`, () => deleteVisits(ids));
    deleted += ids.length;
    request.progress(deleted, undefined, "visits deleted");
  }
  return `deleted ${deleted} visits from before ${before.toISOString()}`;
});

async function visitsBefore(before) {
  const query = new Parse.Query(Visit);
  query.lessThan("createdAt", before);
  query.ascending("createdAt");
  query.select("objectId");
  query.limit(BATCH);
  return (await query.find(MASTER)).map((visit) => visit.id);
}

async function deleteVisits(ids) {
  const visits = ids.map((id) => Visit.createWithoutData(id));
  try {
    await Parse.Object.destroyAll(visits, { ...MASTER, batchSize: 50 });
  } catch (error) {
    // Somebody else deleted some of them in the meantime: that is what was wanted.
    const isGone = (one) => one.code === Parse.Error.OBJECT_NOT_FOUND;
    if (error.code !== Parse.Error.AGGREGATE_ERROR || !error.errors.every(isGone)) throw error;
  }
}
