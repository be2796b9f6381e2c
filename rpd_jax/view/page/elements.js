// Small things that everything else is made of. Text from files only ever becomes text nodes.
const DATA = JSON.parse(document.getElementById("data").textContent);
const SVG = "http://www.w3.org/2000/svg";

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") node.addEventListener(name, value);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) node.setAttribute(name, value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

const el = (tag, attributes = {}, ...children) => fill(document.createElement(tag), attributes, children);
const svg = (tag, attributes = {}, ...children) => fill(document.createElementNS(SVG, tag), attributes, children);

/** 12,300 as "12.3k": as long as an axis has room for. */
function si(value) {
  const size = Math.abs(value);
  for (const [unit, suffix] of [[1e9, "G"], [1e6, "M"], [1e3, "k"]])
    if (size >= unit) return `${+(value / unit).toPrecision(4)}${suffix}`;
  if (size > 0 && size < 1e-3) return value.toExponential(1);
  return `${+value.toPrecision(4)}`;
}

const digits = (value, count = 3) => (value === null || value === undefined ? "-" : value.toFixed(count));
const whole = (value) => (value === null || value === undefined ? "-" : Math.round(value).toLocaleString("en"));
const between = (low, high, count = 3) => (low === null || low === undefined ? "" : `[${digits(low, count)}, ${digits(high, count)}]`);

const MARKERS = [
  (r) => `M${-r},0a${r},${r} 0 1,0 ${2 * r},0a${r},${r} 0 1,0 ${-2 * r},0Z`,
  (r) => `M${-r},${-r}h${2 * r}v${2 * r}h${-2 * r}Z`,
  (r) => `M0,${-r}L${r},${r}H${-r}Z`,
  (r) => `M0,${-1.3 * r}L${r},0L0,${1.3 * r}L${-r},0Z`,
  (r) => `M0,${r}L${r},${-r}H${-r}Z`,
  (r) => `M${-r},0L${r},${-r}V${r}Z`,
  (r) => `M${-r / 2.5},${-r}h${r / 1.25}v${r / 1.6}h${r / 1.6}v${r / 1.25}h${-r / 1.6}v${r / 1.6}h${-r / 1.25}v${-r / 1.6}h${-r / 1.6}v${-r / 1.25}h${r / 1.6}Z`,
];
const DASHES = ["", "7 3", "2 3", "9 3 2 3"];

/** A variant's look, the same wherever it is shown; another round of the palette has other markers and dashes. */
function styleOf(variant) {
  const index = DATA.styles[variant];
  if (index === undefined) return { colour: "currentColor", marker: null, dash: variant.startsWith("teacher:") ? "6 4" : "" };
  const round = Math.floor(index / DATA.palette.length);
  const marker = MARKERS[(index + round) % MARKERS.length];
  return { colour: DATA.palette[index % DATA.palette.length], marker, dash: DASHES[round % DASHES.length] };
}

/** A piece of a line with its marker, as a legend has it. */
function swatch({ colour, marker, dash }) {
  const line = svg("path", { d: "M0,6H24", stroke: colour, "stroke-width": 2, "stroke-dasharray": dash || null });
  const shape = marker && svg("path", { d: marker(3.5), transform: "translate(12 6)", fill: colour });
  return svg("svg", { width: 24, height: 12, "aria-hidden": "true" }, line, shape);
}

const named = (variant, name = variant) => [swatch(styleOf(variant)), name];

/** A table whose columns {label, text, sort, number, wide, cell} can be sorted by their headers' buttons. */
function table(label, columns, rows) {
  const body = el("tbody");
  const heads = columns.map((column) =>
    el("th", { scope: "col", class: column.number ? "number" : null },
      el("button", { type: "button", click: () => sortBy(column) }, column.label)));
  const key = (column, row) => (column.sort ? column.sort(row) : column.text(row));
  const absent = (value) => value === null || value === undefined || value === "";
  function show(sorted) {
    body.replaceChildren(...sorted.map((row) =>
      el("tr", {}, ...columns.map((column) =>
        el("td", { class: column.number ? "number" : column.wide && column.text(row).length > 34 ? "wide" : null },
          ...(column.cell ? column.cell(row) : [column.text(row)]))))));
  }
  function sortBy(column) {
    const head = heads[columns.indexOf(column)];
    const ascending = head.getAttribute("aria-sort") === (column.number ? "descending" : null) || head.getAttribute("aria-sort") === "descending";
    heads.forEach((each) => each.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", ascending ? "ascending" : "descending");
    const order = ascending ? 1 : -1;
    show([...rows].sort((a, b) => {
      const [x, y] = [key(column, a), key(column, b)];
      if (absent(x) || absent(y)) return absent(x) - absent(y); // what is not known comes last
      return order * (typeof x === "number" ? x - y : String(x).localeCompare(String(y)));
    }));
  }
  show(rows);
  return el("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": label },
    el("table", {}, el("thead", {}, el("tr", {}, ...heads)), body));
}
