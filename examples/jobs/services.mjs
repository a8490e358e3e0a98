// Stand-ins for the services that the jobs talk to:  node services.mjs [port]
//
//   POST /mail           a mail API: attachments are put into outbox/
//   POST /crm/contacts   a CRM: every third request is too much for it; the same Idempotency-Key is done once
//   POST /books          the accountants: they refuse everything with REFUSE=1

import { mkdirSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";

const outbox = process.env.OUTBOX ?? fileURLToPath(new URL("outbox", import.meta.url));
const port = Number(process.argv[2] ?? 8025);

const contacts = new Map();
const seenKeys = new Set();
let crmRequests = 0;

const services = {
  "POST /mail"({ to, subject, attachments }) {
    mkdirSync(outbox, { recursive: true });
    const files = attachments.map(({ filename, content }) => {
      const file = join(outbox, basename(filename));
      writeFileSync(file, Buffer.from(content, "base64"));
      return file;
    });
    console.log(`mail to ${to}: ${subject} ${files.join(" ")}`);
    return [202, {}];
  },

  "POST /crm/contacts"(body, key) {
    crmRequests += 1;
    if (crmRequests % 3 === 0) return [429, { error: "slow down" }, { "retry-after": "2" }];
    if (!seenKeys.has(key)) for (const contact of body.contacts) contacts.set(contact.id, contact);
    seenKeys.add(key);
    console.log(`CRM: ${body.contacts.length} contacts sent, ${contacts.size} known`);
    return [200, {}];
  },

  "POST /books"({ month, invoices }) {
    if (process.env.REFUSE) return [422, { error: `the books of ${month} are closed` }];
    console.log(`books: ${invoices} invoices of ${month}`);
    return [200, {}];
  },
};

const server = createServer(async (request, response) => {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  const service = services[`${request.method} ${request.url}`] ?? (() => [404, { error: "no such service" }]);
  const [status, body, headers] = service(
    JSON.parse(Buffer.concat(chunks).toString() || "{}"),
    request.headers["idempotency-key"],
  );
  response.writeHead(status, { "content-type": "application/json", ...headers });
  response.end(JSON.stringify(body));
});

server.listen(port, "127.0.0.1", () => console.log(`services at http://127.0.0.1:${server.address().port}`));
