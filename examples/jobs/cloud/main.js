// Five background jobs, one file each: copy the one that is most like yours.
// README.md says how to run them, `tidegate.toml` has commands to try.

require("./jobs/dailyReport");
require("./jobs/exportOrders");
require("./jobs/nightlyCleanup");
require("./jobs/hourlySync");
require("./jobs/monthEnd");
require("./jobs/sampleData");
