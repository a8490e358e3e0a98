// console and request.log: lines for the host, each with the run that wrote it.

import { format, inspect } from 'node-inspect-extracted';
import { native } from './native.js';
import { currentRun } from './scope.js';

/** A longer text is cut here; the host cuts as well, this only keeps the frames small. */
const MAX_TEXT_CHARS = 8192;

const atLoad = { id: 0, indent: '' };

/** @param {'error'|'warn'|'info'|'debug'} level */
export function write(level, text) {
  const run = currentRun() ?? atLoad;
  const indented = run.indent === '' ? text : run.indent + text.replaceAll('\n', '\n' + run.indent);
  native.log(
    run.id,
    level,
    indented.length > MAX_TEXT_CHARS ? indented.slice(0, MAX_TEXT_CHARS) + '…' : indented,
  );
}

/** Node's formatting; a single string, by far the commonest case, needs none of it. */
function text(args) {
  return args.length === 1 && typeof args[0] === 'string' ? args[0] : format(...args);
}

function writer(level) {
  return (...args) => write(level, text(args));
}

/** An exception that no handler will ever see, such as one thrown by a timer's callback. */
export function reportUncaught(error) {
  write('error', 'Uncaught ' + inspect(error));
}

const timers = new Map();
const counts = new Map();

function elapsed(label) {
  const ms = native.now() - timers.get(label);
  return ms < 1000 ? `${ms.toFixed(3)}ms` : `${(ms / 1000).toFixed(3)}s`;
}

function withTimer(label, use) {
  if (timers.has(label)) use();
  else write('warn', `No such label '${label}' for console.time()`);
}

export const console = {
  log: writer('info'),
  info: writer('info'),
  warn: writer('warn'),
  error: writer('error'),
  debug: writer('debug'),
  trace(...args) {
    const { stack } = new Error(args.length > 0 ? text(args) : '');
    write('debug', String(stack).replace(/^Error:? ?/, 'Trace: '));
  },
  dir(value, options) {
    write('info', inspect(value, { customInspect: false, ...options }));
  },
  dirxml: writer('info'),
  assert(condition, ...args) {
    if (condition) return;
    write('error', args.length > 0 ? `Assertion failed: ${text(args)}` : 'Assertion failed');
  },
  table(rows, columns) {
    write('info', rows !== null && typeof rows === 'object' ? table(rows, columns) : text([rows]));
  },
  group(...args) {
    if (args.length > 0) write('info', text(args));
    (currentRun() ?? atLoad).indent += '  ';
  },
  groupEnd() {
    const run = currentRun() ?? atLoad;
    run.indent = run.indent.slice(2);
  },
  time(label = 'default') {
    timers.set(`${label}`, native.now());
  },
  timeLog(label = 'default', ...args) {
    withTimer(`${label}`, () => write('info', text([`${label}: ${elapsed(`${label}`)}`, ...args])));
  },
  timeEnd(label = 'default') {
    withTimer(`${label}`, () => {
      write('info', `${label}: ${elapsed(`${label}`)}`);
      timers.delete(`${label}`);
    });
  },
  count(label = 'default') {
    counts.set(`${label}`, (counts.get(`${label}`) ?? 0) + 1);
    write('info', `${label}: ${counts.get(`${label}`)}`);
  },
  countReset(label = 'default') {
    counts.delete(`${label}`);
  },
  clear() {},
};
console.groupCollapsed = console.group;

function table(rows, columns) {
  const entries = Array.isArray(rows) ? rows.map((row, index) => [index, row]) : Object.entries(rows);
  const names = columns ?? [...new Set(entries.flatMap(([, row]) => (isRow(row) ? Object.keys(row) : [])))];
  const hasValues = entries.some(([, row]) => !isRow(row));
  const header = ['(index)', ...names, ...(hasValues ? ['Values'] : [])];
  const lines = entries.map(([index, row]) => [
    String(index),
    ...names.map((name) => (isRow(row) && name in row ? inspect(row[name]) : '')),
    ...(hasValues ? [isRow(row) ? '' : inspect(row)] : []),
  ]);
  return drawTable([header, ...lines]);
}

function isRow(row) {
  return row !== null && typeof row === 'object';
}

function drawTable([header, ...lines]) {
  const widths = header.map(
    (name, column) => Math.max(...[header, ...lines].map((line) => line[column].length)) + 2,
  );
  const rule = (left, cross, right) => left + widths.map((width) => '─'.repeat(width)).join(cross) + right;
  const row = (cells) => '│' + cells.map((cell, column) => ` ${cell}`.padEnd(widths[column])).join('│') + '│';
  return [rule('┌', '┬', '┐'), row(header), rule('├', '┼', '┤'), ...lines.map(row), rule('└', '┴', '┘')].join(
    '\n',
  );
}

/** `request.log`: the logger that Parse Server hands to handlers. */
export const logger = {
  error: console.error,
  warn: console.warn,
  info: console.info,
  verbose: console.debug,
  debug: console.debug,
  silly: console.debug,
  log(level, ...args) {
    (logger[level] ?? console.info)(...args);
  },
};
