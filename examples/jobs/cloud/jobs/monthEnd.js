// On the first of the month: close the last one, make its invoices, hand them to the accountants.
//
//   close ──▶ invoice ──▶ handOver          fails for good?   reopenMonth ◀── voidInvoices
//
// A chain of jobs: each is tried again by itself, and begins when the one before it has succeeded. If the accountants
// refuse, what was done is undone, the last thing first.

const settings = require("../settings");
const { monthBefore, monthNamed } = require("../lib/calendar");
const { postJson } = require("../lib/post");

const MASTER = { useMasterKey: true };
const Closing = Parse.Object.extend("Closing");
const Invoice = Parse.Object.extend("Invoice");

Parse.Cloud.workflow("monthEnd", {
  nodes: {
    close: { job: "closeMonth", compensate: "reopenMonth" },
    invoice: { job: "makeInvoices", after: ["close"], compensate: "voidInvoices" },
    handOver: { job: "handOverInvoices", after: ["invoice"] },
  },
  onFailure: "compensate",
});

Parse.Cloud.schedule(
  "monthEnd",
  { monthly: { on: [1], at: "06:00" }, timezone: settings.timezone },
  "monthEnd",
);

// What a job returns is the result of its node: those after it find it in `request.inputs`, by the node's name, and so
// does the job that undoes it. `request.params` are the workflow's, for all of them.

Parse.Cloud.job("closeMonth", async (request) => {
  // Checked in a step: another attempt would find the closing that this one has saved.
  const month = await request.step("month", async () => {
    const month = monthOf(request.params);
    if (await isClosed(month.name)) request.giveUp(`${month.name} is closed already`);
    return month;
  });
  const closing = new Closing();
  closing.setACL(new Parse.ACL());
  await closing.save({ month: month.name, status: "closed" }, MASTER);
  return { ...month, closing: closing.id };
});

Parse.Cloud.job("reopenMonth", async (request) => {
  const { closing } = request.inputs.close;
  await Closing.createWithoutData(closing).save({ status: "reopened" }, MASTER);
});

Parse.Cloud.job("makeInvoices", async (request) => {
  const month = request.inputs.close;
  const { closing } = month;
  // An order that comes in now must not change what a repeated attempt writes: sum up once, then save.
  const sums = await request.step("sums", () => sumsByCustomer(month));
  const invoices = sums.map(({ customer, cents }) => {
    const invoice = new Invoice({ closing, month: month.name, customer, cents, status: "open" });
    invoice.setACL(new Parse.ACL());
    return invoice;
  });
  await Parse.Object.saveAll(invoices, { ...MASTER, batchSize: 50 });
  const cents = sums.reduce((total, sum) => total + sum.cents, 0);
  return { closing, month: month.name, invoices: invoices.length, cents };
});

Parse.Cloud.job("voidInvoices", async (request) => {
  const { closing, month } = request.inputs.invoice;
  const ids = await request.step("choose", () => invoicesOf(closing));
  const invoices = ids.map((id) => Invoice.createWithoutData(id).set("status", "void"));
  await Parse.Object.saveAll(invoices, { ...MASTER, batchSize: 50 });
  return `voided ${ids.length} invoices of ${month}`;
});

Parse.Cloud.job("handOverInvoices", { retries: 5 }, async (request) => {
  const { month, invoices, cents } = request.inputs.invoice;
  await request.step("hand over", () => postJson(request, settings.booksUrl, { month, invoices, cents }));
  return `handed over ${invoices} invoices of ${month}`;
});

function monthOf(params) {
  if (params.month) return monthNamed(params.month, settings.timezone);
  return monthBefore(new Date(), settings.timezone);
}

async function sumsByCustomer({ from, to }) {
  const query = new Parse.Query("Order");
  query.greaterThanOrEqualTo("placedAt", from);
  query.lessThan("placedAt", to);
  query.select("customer", "totalCents");
  const sums = new Map();
  const add = (order) => {
    const customer = order.get("customer");
    sums.set(customer, (sums.get(customer) ?? 0) + order.get("totalCents"));
  };
  await query.eachBatch((orders) => orders.forEach(add), { ...MASTER, batchSize: 500 });
  return [...sums].map(([customer, cents]) => ({ customer, cents })).sort((a, b) => (a.customer < b.customer ? -1 : 1));
}

async function isClosed(month) {
  const query = new Parse.Query("Closing").equalTo("month", month).equalTo("status", "closed");
  return (await query.count(MASTER)) > 0;
}

async function invoicesOf(closing) {
  const query = new Parse.Query("Invoice").equalTo("closing", closing);
  query.ascending("objectId").limit(10_000);
  return (await query.find(MASTER)).map((invoice) => invoice.id);
}
