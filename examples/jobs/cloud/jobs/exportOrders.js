// On demand: all orders in one spreadsheet, with progress.
//
// A page is a step. If the worker dies at page 7, the next attempt has pages 1 to 6 and reads page 7.

const { workbook } = require("../lib/xlsx");

const MASTER = { useMasterKey: true };
const PAGE = 500;

const options = {
  timeout: 10 * 60_000,
  concurrency: 1,
  description: "Writes all orders into a spreadsheet",
};

Parse.Cloud.job("exportOrders", options, async (request) => {
  const total = await request.step("count", () => new Parse.Query("Order").count(MASTER));
  const rows = [];
  let last = "";
  for (let page = 1; ; page += 1) {
    const read = await request.step(`page ${page}`, () => readPage(last));
    if (read.rows.length === 0) break;
    rows.push(...read.rows);
    last = read.last;
    // Four times a second at most is sent, so a loop may call it as often as it likes.
    request.progress(rows.length, Math.max(total, rows.length), "orders read");
  }

  const file = workbook("Orders", ["Number", "Placed", "Customer", "Country", "EUR"], rows.map(cells));
  const name = `orders-${request.jobId}.xlsx`;
  const saved = new Parse.Object("Export");
  // Nobody but the master key: without an ACL everybody could read it.
  saved.setACL(new Parse.ACL());
  // Files are not served yet; a column of bytes holds some megabytes just as well.
  const bytes = { __type: "Bytes", base64: file.toString("base64") };
  await saved.save({ name, orders: rows.length, file: bytes }, MASTER);
  return `${rows.length} orders in ${name} (Export ${saved.id})`;
});

/** The page after the object with id `last`. Not by skip: that reads everything before it, and misses what moves up. */
async function readPage(last) {
  const query = new Parse.Query("Order");
  query.greaterThan("objectId", last);
  query.ascending("objectId");
  query.limit(PAGE);
  const orders = await query.find(MASTER);
  // A step remembers 256 KB of JSON at most: keep what the sheet needs, not the objects.
  const rows = orders.map((order) => [
    order.get("number"),
    order.get("placedAt").getTime(),
    order.get("customer"),
    order.get("country"),
    order.get("totalCents"),
  ]);
  return { rows, last: orders.at(-1)?.id };
}

function cells([number, placedAt, customer, country, cents]) {
  return [number, new Date(placedAt), customer, country, cents / 100];
}
