// Every hour: customers that changed since the last run go to the CRM, a page at a time.
//
// Up to when it came is in class SyncState: the next run begins there. Within a run its steps say how far it is.

const settings = require("../settings");
const { postJson } = require("../lib/post");

const MASTER = { useMasterKey: true };
const PAGE = 100;
// Younger changes wait for the next run: a save is visible a moment after its `updatedAt`, and must not be passed by.
const SETTLE_MS = 10_000;

// A run that takes longer than an hour is not joined by a second one.
Parse.Cloud.schedule("hourlySync", { cron: "0 * * * *", overlap: "skip" }, "hourlySync");

const options = { retries: 10, concurrency: 1, description: "Sends changed customers to the CRM" };

Parse.Cloud.job("hourlySync", options, async (request) => {
  const { from, until } = await request.step("window", async () => ({
    from: await syncedUntil(),
    until: new Date(Date.now() - SETTLE_MS),
  }));
  let last = "";
  let sent = 0;
  for (let page = 1; ; page += 1) {
    // Read in a step of its own: a page that is sent again is the very same page, as its Idempotency-Key says.
    const contacts = await request.step(`read ${page}`, () => changedCustomers(from, until, last));
    if (contacts.length === 0) break;
    // When the CRM says 429 this throws, and the run is tried again when the CRM wants it. Pages that were sent are not
    // sent again.
    await request.step(`send ${page}`, () => postJson(request, `${settings.crmUrl}/contacts`, { contacts }));
    last = contacts.at(-1).id;
    sent += contacts.length;
    request.progress(sent, undefined, "customers sent");
  }
  await request.step("remember", () => saveSyncedUntil(until));
  return `sent ${sent} customers`;
});

/** By objectId: who changes meanwhile leaves the window, and is in the next one. */
async function changedCustomers(from, until, last) {
  const query = new Parse.Query("Customer");
  query.greaterThanOrEqualTo("updatedAt", from);
  query.lessThan("updatedAt", until);
  query.greaterThan("objectId", last);
  query.ascending("objectId");
  query.limit(PAGE);
  const customers = await query.find(MASTER);
  return customers.map((customer) => ({
    id: customer.id,
    name: customer.get("name"),
    email: customer.get("email"),
  }));
}

function stateOfCrm() {
  return new Parse.Query("SyncState").equalTo("name", "crm").first(MASTER);
}

async function syncedUntil() {
  const state = await stateOfCrm();
  return state ? state.get("until") : new Date(0);
}

async function saveSyncedUntil(until) {
  let state = await stateOfCrm();
  if (!state) {
    state = new Parse.Object("SyncState", { name: "crm" });
    state.setACL(new Parse.ACL());
  }
  await state.save({ until }, MASTER);
}
