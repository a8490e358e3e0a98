// What the SDK would use in a browser or for LiveQuery, and cloud code has no way to.
module.exports = undefined;
