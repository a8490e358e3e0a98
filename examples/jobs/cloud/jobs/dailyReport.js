// Every morning: yesterday's orders as a PDF, by mail.
//
// Cloud code has no sockets, so no SMTP: mail goes by the HTTP API of a mail service, with fetch.

const settings = require("../settings");
const { dayBefore, dayNamed } = require("../lib/calendar");
const { postJson } = require("../lib/post");
const { reportPdf } = require("../lib/reportPdf");

const MASTER = { useMasterKey: true };

// The clock of the time zone: 09:00 in Berlin, in summer and in winter.
Parse.Cloud.schedule("dailyReport", { daily: "09:00", timezone: settings.timezone }, "dailyReport");

const options = {
  retries: 5,
  backoff: { initial: 2_000, factor: 4, max: 600_000 },
  description: "Mails yesterday's orders as a PDF",
};

// Params, for a run by hand: `day` ("2026-03-29") instead of yesterday, `to` instead of the owner.
Parse.Cloud.job("dailyReport", options, async (request) => {
  const { to = settings.reportTo } = request.params;

  // An attempt after midnight must not report another day: a step's result is remembered by all attempts of a run.
  const day = await request.step("day", () => dayOf(request));
  const totals = await request.step("totals", () => totalsOf(day));

  const pdf = await reportPdf(day, totals);
  request.message(`the report of ${day.name} has ${pdf.length} bytes`);

  // Done once it has been answered: an attempt that fails later does not mail again.
  await request.step("mail", () =>
    postJson(request, settings.mailUrl, {
      from: settings.mailFrom,
      to,
      subject: `Orders of ${day.name}`,
      text: `${totals.orders} orders. The report is attached.`,
      attachments: [
        {
          filename: `orders-${day.name}.pdf`,
          type: "application/pdf",
          content: Buffer.from(pdf).toString("base64"),
        },
      ],
    }),
  );
  return `mailed ${totals.orders} orders of ${day.name} to ${to}`;
});

function dayOf({ params, schedule }) {
  if (params.day) return dayNamed(params.day, settings.timezone);
  // When it was due, not when it runs: a report that was late is still of the day before.
  return dayBefore(schedule ? schedule.dueAt : new Date(), settings.timezone);
}

/** @returns {Promise<{orders, cents, countries: {country, orders, cents}[]}>} the largest country first */
async function totalsOf({ from, to }) {
  const query = new Parse.Query("Order");
  query.greaterThanOrEqualTo("placedAt", from);
  query.lessThan("placedAt", to);
  query.select("country", "totalCents");
  const countries = {};
  const count = (order) => {
    const country = order.get("country") || "unknown";
    const line = (countries[country] ??= { country, orders: 0, cents: 0 });
    line.orders += 1;
    line.cents += order.get("totalCents");
  };
  await query.eachBatch((orders) => orders.forEach(count), { ...MASTER, batchSize: 500 });
  const lines = Object.values(countries).sort((a, b) => b.cents - a.cents);
  const sum = (name) => lines.reduce((total, line) => total + line[name], 0);
  return { orders: sum("orders"), cents: sum("cents"), countries: lines };
}
