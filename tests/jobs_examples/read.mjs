// Reads what a job made, as a stranger would:  node read.mjs pdf|xlsx base64|latin1 < file
//
// Prints {pages, lines} of a PDF, each line the texts of one height from left to right, or {files, rows} of a
// spreadsheet. Throws at whatever a reader of such files would not accept.

import assert from 'node:assert/strict';
import { inflateRawSync, inflateSync } from 'node:zlib';

const chunks = [];
for await (const chunk of process.stdin) chunks.push(chunk);
const [kind, encoding] = process.argv.slice(2);
const file = Buffer.from(Buffer.concat(chunks).toString('latin1'), encoding);
const readers = { pdf: readPdf, xlsx: readXlsx };
console.log(JSON.stringify(readers[kind](file)));

function readPdf(bytes) {
  const text = bytes.toString('latin1');
  assert.match(text, /^%PDF-1\.\d/);
  const [, start] = text.match(/startxref\s+(\d+)\s+%%EOF\s*$/);
  assert.match(text.slice(Number(start)), /^\d+ 0 obj\b/, 'startxref leads to the cross-reference stream');
  let content = '';
  for (const head of text.matchAll(/\/Length (\d+)\s*>>\s*stream\r?\n/g)) {
    const from = head.index + head[0].length;
    content += inflateSync(bytes.subarray(from, from + Number(head[1]))).toString('latin1');
  }
  const pages = content.match(/\/Type \/Page\b/g).length;
  const heights = new Map();
  for (const [, x, y, hex] of content.matchAll(/1 0 0 1 ([\d.]+) ([\d.]+) Tm\s*<([0-9A-F]*)> Tj/g)) {
    if (!heights.has(y)) heights.set(y, []);
    heights.get(y).push({ x: Number(x), text: Buffer.from(hex, 'hex').toString('latin1') });
  }
  const lines = [...heights.values()].map((line) => line.sort((a, b) => a.x - b.x).map(({ text }) => text));
  return { pages, lines };
}

function readXlsx(bytes) {
  const files = unzipped(bytes);
  assert.ok(files['[Content_Types].xml'].includes('PartName="/xl/worksheets/sheet1.xml"'));
  assert.ok(files['_rels/.rels'].includes('Target="xl/workbook.xml"'));
  assert.ok(files['xl/_rels/workbook.xml.rels'].includes('Id="rId1"'));
  assert.ok(files['xl/workbook.xml'].includes('r:id="rId1"'));
  const sheet = files['xl/worksheets/sheet1.xml'];
  const rows = [...sheet.matchAll(/<row>(.*?)<\/row>/gs)].map(([, row]) => {
    return [...row.matchAll(/<c[^>]*>(.*?)<\/c>/gs)].map(([, cell]) => cellOf(cell));
  });
  return { files: Object.keys(files), rows };
}

function cellOf(cell) {
  const number = cell.match(/^<v>(.*)<\/v>$/);
  if (number) return Number(number[1]);
  const [, text] = cell.match(/^<is><t>(.*)<\/t><\/is>$/s);
  const entities = { '&lt;': '<', '&gt;': '>', '&quot;': '"', '&amp;': '&' };
  return text.replace(/&\w+;/g, (entity) => entities[entity]);
}

/** By the directory at its end, as every reader of zip files does it. */
function unzipped(bytes) {
  const end = bytes.lastIndexOf(Buffer.from('PK\x05\x06', 'latin1'));
  assert.ok(end >= 0, 'a zip has a directory');
  const files = {};
  let at = bytes.readUInt32LE(end + 16);
  for (let n = bytes.readUInt16LE(end + 10); n > 0; n -= 1) {
    assert.equal(bytes.readUInt32LE(at), 0x02014b50);
    const [method, sum, packed, size] = [bytes.readUInt16LE(at + 10), ...[16, 20, 24].map((o) => bytes.readUInt32LE(at + o))];
    const [nameLength, extra, comment] = [28, 30, 32].map((o) => bytes.readUInt16LE(at + o));
    const name = bytes.toString('utf8', at + 46, at + 46 + nameLength);
    const local = bytes.readUInt32LE(at + 42);
    const from = local + 30 + bytes.readUInt16LE(local + 26) + bytes.readUInt16LE(local + 28);
    const raw = bytes.subarray(from, from + packed);
    const content = method === 8 ? inflateRawSync(raw) : raw;
    assert.deepEqual([content.length, crc32(content)], [size, sum], name);
    files[name] = content.toString('utf8');
    at += 46 + nameLength + extra + comment;
  }
  return files;
}

function crc32(bytes) {
  let sum = ~0;
  for (const byte of bytes) {
    sum ^= byte;
    for (let bit = 0; bit < 8; bit += 1) sum = (sum >>> 1) ^ (sum & 1 ? 0xedb88320 : 0);
  }
  return ~sum >>> 0;
}
