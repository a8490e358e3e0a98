// One day's orders as a PDF, with pdf-lib. It is plain JavaScript: it needs neither files nor zlib.

const { PDFDocument, StandardFonts } = require("pdf-lib");
const { euros } = require("./money");

const A4 = [595, 842];
const MARGIN = 56;
const LINE = 18;
// Where each column ends; all but the first are numbers.
const COLUMNS = [MARGIN, 320, A4[0] - MARGIN];

/**
 * @param {{name: string, to: Date}} day
 * @param {{orders: number, cents: number, countries: {country, orders, cents}[]}} totals
 * @returns {Promise<Uint8Array>}
 */
exports.reportPdf = async function reportPdf(day, { orders, cents, countries }) {
  const pdf = await PDFDocument.create();
  pdf.setTitle(`Orders of ${day.name}`);
  // Not now: the file of a repeated attempt is the same to the last byte.
  pdf.setCreationDate(day.to);
  pdf.setModificationDate(day.to);
  // Standard fonts have Latin letters only: for names in other scripts embed a font (@pdf-lib/fontkit).
  const plain = await pdf.embedFont(StandardFonts.Helvetica);
  const bold = await pdf.embedFont(StandardFonts.HelveticaBold);
  let page;
  let y = 0;

  function line(cells, font = plain, size = 11) {
    if (y < MARGIN + LINE) {
      page = pdf.addPage(A4);
      y = A4[1] - MARGIN;
    }
    cells.forEach((text, column) => {
      const x = COLUMNS[column] - (column === 0 ? 0 : font.widthOfTextAtSize(text, size));
      page.drawText(text, { x, y, font, size });
    });
    y -= LINE;
  }

  line([`Orders of ${day.name}`], bold, 18);
  y -= LINE;
  line(["Country", "Orders", "EUR"], bold);
  for (const one of countries) line([one.country, String(one.orders), euros(one.cents)]);
  line(["Total", String(orders), euros(cents)], bold);
  return pdf.save();
};
