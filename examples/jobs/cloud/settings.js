// What differs between this machine and yours.

module.exports = {
  timezone: "Europe/Berlin",

  // services.mjs stands in for all three.
  mailUrl: "http://127.0.0.1:8025/mail",
  crmUrl: "http://127.0.0.1:8025/crm",
  booksUrl: "http://127.0.0.1:8025/books",

  mailFrom: "shop@example.com",
  reportTo: "owner@example.com",
};
