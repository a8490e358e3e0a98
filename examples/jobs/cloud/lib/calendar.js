// Days and months of a time zone. The engine has no Intl; moment-timezone brings its own tables.

const moment = require("moment-timezone");

/** @returns {{name: string, from: Date, to: Date}} `to` is the first moment after it; a day may have 23 or 25 hours */
function span(start, unit, format) {
  const from = start.clone().startOf(unit);
  return { name: from.format(format), from: from.toDate(), to: from.clone().add(1, unit).toDate() };
}

exports.dayBefore = (date, zone) => span(moment.tz(date, zone).subtract(1, "day"), "day", "YYYY-MM-DD");
exports.dayNamed = (name, zone) => span(moment.tz(name, "YYYY-MM-DD", zone), "day", "YYYY-MM-DD");
exports.monthBefore = (date, zone) => span(moment.tz(date, zone).subtract(1, "month"), "month", "YYYY-MM");
exports.monthNamed = (name, zone) => span(moment.tz(name, "YYYY-MM", zone), "month", "YYYY-MM");
