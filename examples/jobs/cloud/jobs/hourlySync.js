// Every hour: customers that changed since the last run go to the CRM, a page at a time.
//
// How far it came is in class SyncState, so that the next run, or the next attempt, begins there.

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
  const until = await request.step("until", () => new Date(Date.now() - SETTLE_MS));
  let cursor = await request.step("cursor", readCursor);
  let sent = 0;
  for (let page = 1; ; page += 1) {
    // Read in a step of its own: a page that is sent again is the very same page, as its Idempotency-Key says.
    const contacts = await request.step(`read ${page}`, () => changedCustomers(cursor, until));
    if (contacts.length === 0) break;
    cursor = cursorAt(contacts.at(-1));
    await request.step(`send ${page}`, async () => {
      // When the CRM says 429 this throws, and the run is tried again when the CRM wants it.
      await postJson(request, `${settings.crmUrl}/contacts`, { contacts });
      await saveCursor(cursor);
    });
    sent += contacts.length;
    request.progress(sent, undefined, "customers sent");
  }
  return `sent ${sent} customers`;
});

/** Two customers may have changed in the same millisecond: the id decides which is first. */
function changedCustomers({ at, id }, until) {
  const later = new Parse.Query("Customer").greaterThan("updatedAt", at);
  const same = new Parse.Query("Customer").equalTo("updatedAt", at).greaterThan("objectId", id);
  const query = Parse.Query.or(later, same);
  query.lessThan("updatedAt", until);
  query.ascending("updatedAt", "objectId");
  query.limit(PAGE);
  return query.find(MASTER).then((customers) => customers.map(contactOf));
}

function contactOf(customer) {
  return {
    id: customer.id,
    name: customer.get("name"),
    email: customer.get("email"),
    updatedAt: customer.updatedAt.toISOString(),
  };
}

function cursorAt(contact) {
  return { at: new Date(contact.updatedAt), id: contact.id };
}

function stateOfCrm() {
  return new Parse.Query("SyncState").equalTo("name", "crm").first(MASTER);
}

async function readCursor() {
  const state = await stateOfCrm();
  return state ? { at: state.get("at"), id: state.get("lastId") } : { at: new Date(0), id: "" };
}

async function saveCursor({ at, id }) {
  let state = await stateOfCrm();
  if (!state) {
    state = new Parse.Object("SyncState", { name: "crm" });
    state.setACL(new Parse.ACL());
  }
  await state.save({ at, lastId: id }, MASTER);
}
