// The smallest spreadsheet that Excel, LibreOffice and Google Sheets open: a zip of some XML files.

const { strToU8, zipSync } = require("fflate");

const HEAD = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n';
const MAIN = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"';
const RELATIONS = "http://schemas.openxmlformats.org/officeDocument/2006/relationships";
const OF_PACKAGE = "http://schemas.openxmlformats.org/package/2006";
const SHEET_ML = "application/vnd.openxmlformats-officedocument.spreadsheetml";

// Styles by their place in cellXfs.
const PLAIN = 0;
const DATE = 1;
const BOLD = 2;

const STYLES = [
  `<styleSheet ${MAIN}><fonts count="2"><font/><font><b/></font></fonts>`,
  '<fills count="2"><fill><patternFill patternType="none"/></fill><fill><patternFill patternType="gray125"/></fill></fills>',
  '<borders count="1"><border/></borders><cellStyleXfs count="1"><xf/></cellStyleXfs><cellXfs count="3">',
  '<xf/><xf numFmtId="22" applyNumberFormat="1"/><xf fontId="1" applyFont="1"/></cellXfs></styleSheet>',
].join("");

/**
 * @param {string} name of the sheet
 * @param {string[]} titles of the columns
 * @param {(string | number | Date)[][]} rows
 * @returns {Buffer} the file
 */
exports.workbook = function workbook(name, titles, rows) {
  const files = {
    "[Content_Types].xml": contentTypes({
      "/xl/workbook.xml": "sheet.main",
      "/xl/worksheets/sheet1.xml": "worksheet",
      "/xl/styles.xml": "styles",
    }),
    "_rels/.rels": relations([["officeDocument", "xl/workbook.xml"]]),
    "xl/workbook.xml": [
      `<workbook ${MAIN} xmlns:r="${RELATIONS}">`,
      `<sheets><sheet name="${escaped(name)}" sheetId="1" r:id="rId1"/></sheets></workbook>`,
    ].join(""),
    "xl/_rels/workbook.xml.rels": relations([
      ["worksheet", "worksheets/sheet1.xml"],
      ["styles", "styles.xml"],
    ]),
    "xl/styles.xml": STYLES,
    "xl/worksheets/sheet1.xml": sheet(titles, rows),
  };
  const bytes = Object.entries(files).map(([path, xml]) => [path, strToU8(HEAD + xml)]);
  return Buffer.from(zipSync(Object.fromEntries(bytes)));
};

function sheet(titles, rows) {
  const head = row(titles.map((title) => cell(title, BOLD)));
  const body = rows.map((values) => row(values.map((value) => cell(value))));
  return `<worksheet ${MAIN}><sheetData>${head}${body.join("")}</sheetData></worksheet>`;
}

function row(cells) {
  return `<row>${cells.join("")}</row>`;
}

function cell(value, style = PLAIN) {
  // A date is the number of days since 30 December 1899.
  if (value instanceof Date) return `<c s="${DATE}"><v>${value.getTime() / 86_400_000 + 25_569}</v></c>`;
  const styled = style === PLAIN ? "" : ` s="${style}"`;
  if (typeof value === "number") return `<c${styled}><v>${value}</v></c>`;
  return `<c${styled} t="inlineStr"><is><t>${escaped(String(value ?? ""))}</t></is></c>`;
}

function contentTypes(parts) {
  const each = Object.entries(parts).map(
    ([path, type]) => `<Override PartName="${path}" ContentType="${SHEET_ML}.${type}+xml"/>`,
  );
  const rels = '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>';
  return `<Types xmlns="${OF_PACKAGE}/content-types">${rels}${each.join("")}</Types>`;
}

function relations(targets) {
  const each = targets.map(
    ([type, target], n) => `<Relationship Id="rId${n + 1}" Type="${RELATIONS}/${type}" Target="${target}"/>`,
  );
  return `<Relationships xmlns="${OF_PACKAGE}/relationships">${each.join("")}</Relationships>`;
}

function escaped(text) {
  // XML has no way to write control characters.
  const writable = text.replace(/[\u0000-\u0008\u000b\u000c\u000e-\u001f\ufffe\uffff]/g, "");
  const entities = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" };
  return writable.replace(/[&<>"]/g, (character) => entities[character]);
}
