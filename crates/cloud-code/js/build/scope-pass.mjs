// Makes every `await` carry the run that reached it.
//
//   await load(id)   →   __scope.resume(__scope.current, await __scope.settle(load(id)))
//
// Arguments are evaluated in order, so `__scope.current` is read before the function is suspended and kept
// in its frame; `resume` puts it back before the next statement runs. No engine hook could do this: QuickJS
// tells nobody that an `await` goes on. `settle` lets a thenable's `then` run under the same scope.
// A rejected `await` skips `resume`, so `catch` and `finally` blocks put the scope back themselves.
//
// An async generator goes on after a `yield` either inside its consumer's call of next(), whose scope must
// not be touched, or in a job of its own, which has none: `adopt` puts one back only where there is none.
//
// for-await must have been lowered before (esbuild's `supported`).

import { parse } from 'acorn';
import { Edits } from './edits.mjs';

const SAVED = '__saved_scope';

/**
 * @param {string} source a script (functions only) or, with `module`, an ES module that may await at top level
 * @returns {{edits: Edits, awaitsAtTop: boolean}} edits yet to be applied; the caller may add its own
 */
export function scopePass(source, { module = false } = {}) {
  const program = parse(source, {
    ecmaVersion: 'latest',
    sourceType: module ? 'module' : 'script',
    allowReturnOutsideFunction: true,
    allowHashBang: true,
  });
  const pass = new Pass(source);
  pass.program(program);
  return { edits: pass.edits, awaitsAtTop: pass.awaitsAtTop };
}

class Pass {
  edits = new Edits();
  awaitsAtTop = false;

  constructor(source) {
    this.source = source;
  }

  program(node) {
    const top = { async: true, generator: false, top: true, savesAt: bodyStart(node, 0), saved: false };
    for (const statement of node.body) {
      if (statement.type === 'ExportNamedDeclaration') this.edits.blank(statement.start, statement.end);
      else this.visit(statement, top);
    }
  }

  visit(node, scope) {
    if (isFunction(node)) this.function(node);
    else if (node.type === 'AwaitExpression') this.await(node, scope);
    else if (node.type === 'YieldExpression' && scope.async) this.yield(node, scope);
    else if (node.type === 'ReturnStatement' && scope.async) this.return(node, scope);
    else if (node.type === 'TryStatement' && scope.async) this.try(node, scope);
    else this.children(node, scope);
  }

  children(node, scope) {
    for (const child of childNodes(node)) this.visit(child, scope);
  }

  /** Puts `open` and `close` around what lies between the offsets; outer pairs are opened first and closed last. */
  around(start, open, end, close, inner) {
    this.edits.insert(start, open, 1);
    inner();
    this.edits.insert(end, close, -1);
  }

  function(node) {
    const scope = { async: node.async, generator: node.generator, saved: false };
    if (node.body.type === 'BlockStatement') scope.savesAt = bodyStart(node.body, node.body.start + 1);
    if (scope.async && node.body.type !== 'BlockStatement' && mayBeThenable(node.body)) {
      const arrow = this.source.lastIndexOf('=>', node.body.start);
      this.around(arrow + 2, ' __scope.settle(', node.end, ')', () => this.children(node, scope));
    } else {
      this.children(node, scope);
    }
  }

  await(node, scope) {
    if (scope.top) this.awaitsAtTop = true;
    this.edits.insert(node.start, '__scope.resume(__scope.current, ', 1);
    const operand = node.start + 'await'.length;
    this.around(operand, ' __scope.settle(', node.end, '))', () => this.visit(node.argument, scope));
  }

  yield(node, scope) {
    this.around(node.start, '__scope.adopt(__scope.current, ', node.end, ')', () => {
      if (!node.argument || node.delegate) return this.children(node, scope);
      const operand = node.start + 'yield'.length;
      this.around(operand, ' __scope.settle(', node.end, ')', () => this.visit(node.argument, scope));
    });
  }

  /** `return x` in an async function resolves its promise with x, which may be a thenable. */
  return(node, scope) {
    if (!node.argument || !mayBeThenable(node.argument)) return this.children(node, scope);
    const operand = node.start + 'return'.length;
    const end = this.source[node.end - 1] === ';' ? node.end - 1 : node.end;
    this.around(operand, ' __scope.settle((', end, '))', () => this.visit(node.argument, scope));
  }

  try(node, scope) {
    if (containsPause(node)) {
      if (!scope.saved) this.edits.insert(scope.savesAt, ` ;const ${SAVED} = __scope.current;`);
      scope.saved = true;
      const restore = scope.generator ? ` __scope.adopt(${SAVED});` : ` __scope.current = ${SAVED};`;
      for (const block of [node.handler?.body, node.finalizer]) {
        if (block) this.edits.insert(block.start + 1, restore);
      }
    }
    this.children(node, scope);
  }
}

function isFunction(node) {
  return (
    node.type === 'FunctionDeclaration' ||
    node.type === 'FunctionExpression' ||
    node.type === 'ArrowFunctionExpression'
  );
}

function bodyStart(body, start) {
  let offset = start;
  for (const statement of body.body) {
    if (!statement.directive) break;
    offset = statement.end;
  }
  return offset;
}

const NEVER_THENABLE = new Set([
  'ArrayExpression',
  'ArrowFunctionExpression',
  'AwaitExpression',
  'BinaryExpression',
  'FunctionExpression',
  'Literal',
  'TemplateLiteral',
  'UnaryExpression',
  'UpdateExpression',
]);

function mayBeThenable(node) {
  return !NEVER_THENABLE.has(node.type);
}

function containsPause(node) {
  if (node.type === 'AwaitExpression' || node.type === 'YieldExpression') return true;
  for (const child of childNodes(node)) {
    if (!isFunction(child) && containsPause(child)) return true;
  }
  return false;
}

function* childNodes(node) {
  for (const key in node) {
    const value = node[key];
    if (Array.isArray(value)) {
      for (const item of value) if (item && typeof item.type === 'string') yield item;
    } else if (value && typeof value.type === 'string') {
      yield value;
    }
  }
}
