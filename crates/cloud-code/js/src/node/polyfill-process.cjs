// `require('process/')` of npm polyfills.
module.exports = require('./process.js').default;
