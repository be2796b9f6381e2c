// One plot: means over seeds with their intervals. Keyboard: focus it, then the arrow keys move along it.
const SIZE = { width: 440, height: 250, left: 46, right: 12, top: 10, bottom: 34 };
const MOST_MARKERS = 10;
let charts = 0;

/**
 * @param title, subtitle of the figure
 * @param lines [{name, x, mean, low, high, seeds, style, rates}], values null where not known
 * @param levels [{name, value, low, high}] drawn across, as a teacher's success
 * @param marks [{name, x, colour}] below the axis, as alarms
 * @param options {rate, xLabel, logX, seeds, range}
 */
function chart({ title, subtitle = "", lines, levels = [], marks = [], options = {} }) {
  const { width, height, left, right, top, bottom } = SIZE;
  const xs = lines.flatMap((line) => line.x).filter((x) => !options.logX || x > 0);
  if (xs.length === 0) return null;
  const logY = !options.rate && spansDecades(lines);
  const [x0, x1] = options.logX ? [Math.min(...xs), Math.max(...xs)] : [Math.min(0, Math.min(...xs)), Math.max(...xs)];
  const [y0, y1] = options.range || (options.rate ? [-0.02, 1.02] : limits(lines, levels, logY));
  const toX = scale(x0, x1, left, width - right, options.logX);
  const toY = scale(y0, y1, height - bottom, top, logY);

  const id = `clip${charts++}`;
  const plot = svg("g", { "clip-path": `url(#${id})` });
  const axes = svg("g");
  for (const y of logY ? decades(y0, y1) : ticks(y0, y1, 6)) {
    axes.append(svg("path", { class: "rule", d: `M${left},${toY(y)}H${width - right}` }),
      svg("text", { x: left - 6, y: toY(y) + 4, "text-anchor": "end" }, si(y)));
  }
  for (const x of options.logX ? decades(x0, x1) : ticks(x0, x1, 5)) {
    axes.append(svg("path", { class: "rule", d: `M${toX(x)},${height - bottom}v4` }),
      svg("text", { x: toX(x), y: height - bottom + 16, "text-anchor": "middle" }, si(x)));
  }
  axes.append(svg("path", { class: "rule", d: `M${left},${height - bottom}H${width - right}` }),
    svg("text", { x: (left + width - right) / 2, y: height - 4, "text-anchor": "middle" }, options.xLabel || "environment steps per member"));

  for (const level of levels) {
    plot.append(
      svg("rect", { x: left, width: width - left - right, y: toY(level.high), height: toY(level.low) - toY(level.high), fill: "currentColor", opacity: 0.1 }),
      svg("path", { d: `M${left},${toY(level.value)}H${width - right}`, stroke: "currentColor", "stroke-width": 1.5, "stroke-dasharray": "6 4" }));
  }
  for (const line of lines) plot.append(...drawn(line, toX, toY, options.seeds));
  for (const mark of marks) {
    const at = `translate(${toX(mark.x)} ${height - bottom - 5})`;
    axes.append(svg("path", { d: MARKERS[2](5), transform: at, fill: mark.colour, stroke: "var(--card)" }, svg("title", {}, mark.name)));
  }

  const cursor = svg("path", { class: "cursor", d: "" });
  const clip = svg("clipPath", { id }, svg("rect", { x: left, y: top, width: width - left - right + 4, height: height - top - bottom }));
  const ends = lines.map((line) => `${line.name} ${si(line.mean.at(-1) ?? NaN)}`).join(", ");
  const picture = svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", tabindex: 0, "aria-label": `${title} ${subtitle}. At the end: ${ends}` },
    svg("defs", {}, clip), axes, plot, cursor);
  const tip = el("div", { class: "tip", "aria-live": "polite" });
  follow(picture, cursor, tip, lines, toX, options);
  return el("figure", { class: "chart" }, el("figcaption", {}, title, el("span", {}, subtitle && ` ${subtitle}`)), picture, tip);
}

/** A line's band, its seeds where wanted, the line, and a few markers on it. */
function drawn(line, toX, toY, withSeeds) {
  const { colour, marker, dash } = line.style;
  const path = (values) => values.reduce((d, y, i) => (y === null ? `${d} ` : `${d}${d === "" || d.endsWith(" ") ? "M" : "L"}${point(line.x[i], y)}`), "");
  const point = (x, y) => `${toX(x).toFixed(1)},${toY(y).toFixed(1)}`;
  const parts = [];
  if (line.low && line.low.every((y, i) => y !== null && line.high[i] !== null)) {
    const there = line.x.map((x, i) => point(x, line.high[i])), back = line.x.map((x, i) => point(x, line.low[i])).reverse();
    parts.push(svg("path", { d: `M${there.concat(back).join("L")}Z`, fill: colour, opacity: 0.12 }));
  }
  for (const seed of (withSeeds && line.seeds) || []) parts.push(svg("path", { d: path(seed), fill: "none", stroke: colour, "stroke-width": 0.8, opacity: 0.6 }));
  parts.push(svg("path", { class: "mean", d: path(line.mean), fill: "none", stroke: colour, "stroke-width": 1.9, "stroke-dasharray": dash || null }));
  const every = Math.max(1, Math.ceil(line.x.length / MOST_MARKERS));
  for (let i = line.x.length - 1; marker && i >= 0; i -= every)
    if (line.mean[i] !== null) parts.push(svg("path", { d: marker(3), transform: `translate(${point(line.x[i], line.mean[i]).replace(",", " ")})`, fill: colour }));
  return parts;
}

/** Shows the values where the pointer or the arrow keys are. */
function follow(picture, cursor, tip, lines, toX, { logX, xLabel, rate }) {
  const stops = [...new Set(lines.flatMap((line) => line.x))].filter((x) => !logX || x > 0).sort((a, b) => a - b);
  let stop = null;
  const nearest = (values, to) => values.reduce((best, x, i) => (Math.abs(x - to) < Math.abs(values[best] - to) ? i : best), 0);
  function show(index) {
    stop = Math.max(0, Math.min(stops.length - 1, index));
    const at = stops[stop];
    cursor.setAttribute("d", `M${toX(at)},${SIZE.top}V${SIZE.height - SIZE.bottom}`);
    const rows = lines.map((line) => [line, nearest(line.x, at)]).filter(([line, i]) => line.mean[i] !== null);
    rows.sort(([a, i], [b, j]) => b.mean[j] - a.mean[i]);
    const number = (value) => (rate ? digits(value) : si(value));
    tip.replaceChildren(`${si(at)}${xLabel ? ` ${xLabel}` : " steps"}`, ...rows.map(([line, i]) => {
      const ends = line.low && line.low[i] !== null ? ` [${number(line.low[i])}, ${number(line.high[i])}]` : "";
      return el("div", {}, swatch(line.style), el("span", {}, line.name), el("span", {}, number(line.mean[i]) + ends));
    }));
  }
  function hide() {
    stop = null;
    cursor.setAttribute("d", "");
    tip.replaceChildren();
  }
  picture.addEventListener("pointermove", (event) => {
    const box = picture.getBoundingClientRect();
    const x = ((event.clientX - box.left) / box.width) * SIZE.width;
    show(nearest(stops.map(toX), x));
  });
  picture.addEventListener("pointerleave", hide);
  picture.addEventListener("blur", hide);
  picture.addEventListener("keydown", (event) => {
    const moves = { ArrowLeft: -1, ArrowRight: 1 };
    if (event.key === "Escape") hide();
    else if (event.key === "Home" || event.key === "End") show(event.key === "Home" ? 0 : stops.length - 1);
    else if (event.key in moves) show(stop === null ? stops.length - 1 : stop + moves[event.key]);
    else return;
    event.preventDefault();
  });
}

function scale(from, to, start, end, log) {
  const [a, b] = log ? [Math.log(from), Math.log(to)] : [from, to];
  return (value) => start + (((log ? Math.log(Math.max(value, from)) : value) - a) / (b - a || 1)) * (end - start);
}

function spansDecades(lines) {
  const values = lines.flatMap((line) => line.mean).filter((y) => y !== null);
  return values.length > 0 && Math.min(...values) > 0 && Math.max(...values) > 100 * Math.min(...values);
}

/** Ends of the axis of y: all means, and as much of the intervals as leaves the means room. */
function limits(lines, levels, log) {
  const known = (values) => values.filter((y) => y !== null && y !== undefined);
  const means = known([...lines.flatMap((line) => line.mean), ...levels.map((level) => level.value)]);
  const ends = known(lines.flatMap((line) => (line.low ? [...line.low, ...line.high] : [])));
  const [low, high] = [Math.min(...means), Math.max(...means)];
  if (log) return [low / 1.3, high * 1.3];
  const room = high - low || Math.abs(high) || 1;
  const from = Math.max(Math.min(low, ...ends), low - room / 2), to = Math.min(Math.max(high, ...ends), high + room / 2);
  const gap = (to - from) * 0.04 || room / 2;
  return [from - gap, to + gap];
}

function ticks(low, high, wanted) {
  const rough = (high - low) / wanted || 1;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find((factor) => factor * power >= rough);
  const found = [];
  for (let i = Math.ceil(low / step); i * step <= high; i++) found.push(+(i * step).toPrecision(12));
  return found;
}

function decades(low, high) {
  const found = [];
  for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power++)
    for (const factor of high > 30 * low ? [1] : [1, 2, 5]) found.push(+(factor * 10 ** power).toPrecision(6));
  const within = found.filter((value) => value >= low && value <= high);
  return within.length > 1 ? within : [low, high];
}
