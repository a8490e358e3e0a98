// The SDK looks at streams only when it uploads one: Node's stream module is loaded then.
exports.Readable = {
  toWeb: (stream) => require('../../node/stream.js').default.Readable.toWeb(stream),
};
