// Fills an empty shop, for the other jobs to have something to do. Not one of the five examples.

const MASTER = { useMasterKey: true };
const DAY_MS = 86_400_000;
const BATCH = 250;
const COUNTRIES = ["DE", "FR", "PL", "IT", "ES", "NL"];

// Params: how many `orders`, `customers`, `visits`.
Parse.Cloud.job("sampleData", { concurrency: 1, timeout: 15 * 60_000 }, async (request) => {
  const { orders = 5000, customers = 250, visits = 1200 } = request.params;
  const now = await request.step("now", () => Date.now());
  const make = [
    ["customers", customers, customer],
    ["visits", visits, visit],
    ["orders", orders, (n) => order(n, now, customers)],
  ];
  const total = orders + customers + visits;
  let done = 0;
  for (const [what, count, one] of make) {
    for (let from = 0; from < count; from += BATCH) {
      const size = Math.min(BATCH, count - from);
      await request.step(`${what} from ${from}`, async () => {
        const objects = Array.from({ length: size }, (_, n) => one(from + n));
        await Parse.Object.saveAll(objects, { ...MASTER, batchSize: 50 });
      });
      done += size;
      request.progress(done, total, what);
    }
  }
  return `${orders} orders, ${customers} customers, ${visits} visits`;
});

function customer(n) {
  return object("Customer", { name: `Customer ${n}`, email: `customer${n}@example.com` });
}

function visit(n) {
  return object("Visit", { page: `/item/${n % 40}` });
}

/** Spread over the last sixty days. */
function order(n, now, customers) {
  return object("Order", {
    number: n + 1,
    customer: `Customer ${n % Math.max(customers, 1)}`,
    country: COUNTRIES[n % COUNTRIES.length],
    totalCents: 500 + ((n * 7919) % 20_000),
    placedAt: new Date(now - (n % 60) * DAY_MS),
  });
}

function object(className, fields) {
  const made = new Parse.Object(className, fields);
  made.setACL(new Parse.ACL());
  return made;
}
