// Packages that cloud code commonly uses, one function for each.

const axios = require("axios");
const dayjs = require("dayjs");
const jwt = require("jsonwebtoken");
const _ = require("lodash");
const moment = require("moment");
const Stripe = require("stripe");

dayjs.extend(require("dayjs/plugin/utc"));

Parse.Cloud.define("lodash", ({ params }) => {
  const groups = _.mapValues(_.groupBy(params.items, "kind"), (items) => _.sumBy(items, "price"));
  return { groups, chunks: _.chunk([1, 2, 3], 2), copy: _.cloneDeep({ a: [new Date(0)] }), name: _.startCase("fooBar") };
});

Parse.Cloud.define("dayjs", ({ params }) => dayjs.utc(params.at).add(1, "month").format("YYYY-MM-DD HH:mm"));

Parse.Cloud.define("moment", ({ params }) => moment.utc(params.at).endOf("month").format("dddd, MMMM Do YYYY"));

Parse.Cloud.define("jsonwebtoken", () => {
  const token = jwt.sign({ user: "ada" }, "secret", { expiresIn: "1h" });
  let forged = "accepted";
  try {
    jwt.verify(token, "another secret");
  } catch (error) {
    forged = error.message;
  }
  return { user: jwt.verify(token, "secret").user, forged };
});

Parse.Cloud.define("axios", async ({ params }) => {
  const client = axios.create({ baseURL: params.url, headers: { "X-Key": "k1" } });
  const { status, data } = await client.post("/orders", { n: 1 }, { params: { q: "a b" } });
  const failure = await client.get("/missing").catch((error) => error.response.status);
  return { status, data, failure };
});

Parse.Cloud.define("stripe", async ({ params }) => {
  const stripe = new Stripe("sk_test_1", { host: "127.0.0.1", port: params.port, protocol: "http" });
  const intent = await stripe.paymentIntents.create({ amount: 1499, currency: "eur" });
  return { id: intent.id, status: intent.status };
});
