// What is shown is chosen here and kept in the address, so that reloading the page keeps it.
const AT_FIRST = 6; // runs that are shown unless chosen otherwise: the newest
const METRICS_AT_FIRST = ["eval/success_once", "eval/return", "update/std", "update/entropy"];

const runs = DATA.runs, comparisons = DATA.comparisons;
const GROUPS = ["eval", "train", "update", "teacher", "env", "time"]; // in this order, others after them
const rank = (name) => {
  const group = GROUPS.indexOf(name.split("/")[0]), first = METRICS_AT_FIRST.indexOf(name);
  return [group < 0 ? GROUPS.length : group, first < 0 ? METRICS_AT_FIRST.length : first];
};
const before = (a, b) => rank(a)[0] - rank(b)[0] || rank(a)[1] - rank(b)[1] || a.localeCompare(b);
const metrics = [...new Set(runs.flatMap((run) => Object.keys(run.metrics)))].sort(before);
const variants = Object.keys(DATA.styles).filter((name) => runs.some((run) => Object.values(run.metrics).some((found) => found.some((each) => each.variant === name)) || run.rows.some((row) => row.variant === name)));
const newest = [...runs].sort((a, b) => b.written.localeCompare(a.written)).slice(0, AT_FIRST);
const known = METRICS_AT_FIRST.filter((name) => metrics.includes(name));
const view = {
  runs: new Set(newest.map((run) => run.name)),
  metrics: new Set(known.length ? known : metrics.slice(0, 4)),
  hidden: new Set(),
  overlaid: false, seeds: false, queries: false,
};

function restore() {
  const said = new URLSearchParams(location.hash.slice(1));
  for (const [name, among] of [["runs", runs.map((run) => run.name)], ["metrics", metrics], ["hidden", variants]])
    if (said.has(name)) view[name] = new Set(said.getAll(name).filter((each) => among.includes(each)));
  for (const name of ["overlaid", "seeds", "queries"]) if (said.has(name)) view[name] = said.get(name) === "1";
}

function remember() {
  const said = new URLSearchParams();
  for (const name of ["runs", "metrics", "hidden"]) {
    for (const each of view[name]) said.append(name, each);
    if (view[name].size === 0 && name !== "hidden") said.append(name, "");
  }
  for (const name of ["overlaid", "seeds", "queries"]) if (view[name]) said.set(name, "1");
  history.replaceState(null, "", `#${said}`);
}

const axisOf = (queries) => (queries ? { xLabel: "teacher queries per member" } : {});

/** A curve of the data as a chart draws it; null where it does not run over what is asked for. */
function lineOf(curve, name, style, queries) {
  const x = queries && curve.queries ? curve.queries : curve.x;
  return queries && !curve.queries ? null : { name, x, mean: curve.mean, low: curve.low, high: curve.high, seeds: curve.seeds, style };
}

function linesOf(run, metric, overlaid) {
  const place = runs.indexOf(run);
  const byQueries = view.queries && metric.startsWith("eval/");
  return (run.metrics[metric] || []).filter((curve) => !view.hidden.has(curve.variant)).map((curve) => {
    const name = [curve.variant, overlaid || !curve.variant ? run.name : ""].filter(Boolean).join(" · ");
    const style = styleOf(curve.variant);
    if (overlaid) style.dash = DASHES[place % DASHES.length];
    if (overlaid && !curve.variant) style.colour = DATA.palette[place % DATA.palette.length];
    return lineOf(curve, name, style, byQueries);
  }).filter(Boolean);
}

function metricCharts(metric, shown) {
  const rate = /^[^/]*\/success_|_fraction$/.test(metric);
  const byQueries = view.queries && metric.startsWith("eval/");
  const groups = (view.overlaid ? [shown] : shown.map((run) => [run])).map((group) => ({
    group,
    lines: group.flatMap((run) => linesOf(run, metric, view.overlaid && shown.length > 1)),
    levels: metric === "eval/success_once" ? group.filter((run) => run.teacher).map((run) => ({ name: "teacher", ...run.teacher })) : [],
    marks: byQueries ? [] : group.flatMap((run) => run.alarms.filter((each) => !view.hidden.has(each.variant)).map((each) => ({
      name: `${each.alarm}: ${each.variant}`, x: each.step, colour: styleOf(each.variant).colour }))),
  })).filter(({ lines }) => lines.length);
  const all = groups.flatMap(({ lines }) => lines);
  const range = rate || !all.length || spansDecades(all) ? null : limits(all, [], false); // the same for all runs
  return groups.map(({ group, lines, levels, marks }) => chart({
    title: metric, subtitle: runs.length > 1 ? (group.length === 1 ? group[0].name : "all runs") : "", lines, levels, marks,
    options: { rate, range, seeds: view.seeds, ...axisOf(byQueries) },
  })).filter(Boolean);
}

function chip(name, value, ...label) {
  const box = el("input", { type: "checkbox", change: () => { toggle(name, value, box.checked); } });
  box.checked = name === "hidden" ? !view.hidden.has(value) : view[name].has(value);
  return el("label", { class: "chip" }, box, ...label);
}

function toggle(name, value, on) {
  view[name][(name === "hidden") !== on ? "add" : "delete"](value);
  changed();
}

function changed() {
  render();
  remember();
}

function option(name, label) {
  const box = el("input", { type: "checkbox", change: () => { view[name] = box.checked; changed(); } });
  box.checked = view[name];
  return el("label", { class: "chip" }, box, label);
}

function bothButtons(name, values) {
  const set = (chosen) => () => { view[name] = new Set(chosen); changed(); };
  return values.length < 4 ? [] : [el("button", { type: "button", click: set(values) }, "all"), el("button", { type: "button", click: set([]) }, "none")];
}

function controls() {
  const lines = [];
  if (runs.length > 1) {
    const chips = runs.map((run) => chip("runs", run.name, run.name, el("small", {}, run.state)));
    lines.push(el("fieldset", {}, el("legend", {}, "Runs"), ...chips, ...bothButtons("runs", runs.map((run) => run.name))));
  }
  if (variants.length) lines.push(el("fieldset", {}, el("legend", {}, "Variants"), ...variants.map((name) => chip("hidden", name, ...named(name)))));
  const options = [option("seeds", "each seed's evaluations")];
  if (runs.length > 1) options.unshift(option("overlaid", "runs in one plot"));
  if ([...runs.flatMap((run) => Object.values(run.metrics).flat()), ...comparisons.flatMap((each) => each.cases.flatMap((one) => one.arms.map((arm) => arm.curve)))].some((curve) => curve.queries))
    options.push(option("queries", "evaluations over teacher queries"));
  lines.push(el("fieldset", {}, el("legend", {}, "Show"), ...options));
  const groups = [...new Set(metrics.map((name) => name.split("/")[0]))];
  const choices = groups.map((group) => el("fieldset", {}, el("legend", {}, group),
    ...metrics.filter((name) => name.split("/")[0] === group).map((name) => chip("metrics", name, name.split("/").slice(1).join("/") || name))));
  if (metrics.length) lines.push(el("details", { id: "metrics", open: metricsOpen, toggle: (event) => { metricsOpen = event.target.open; } }, el("summary", {}, `Metrics: ${view.metrics.size} of ${metrics.length}`), ...choices));
  return lines;
}
let metricsOpen = false;

function curvesSection(shown) {
  const grids = metrics.filter((name) => view.metrics.has(name)).map((metric) => metricCharts(metric, shown)).filter((found) => found.length);
  const single = grids.every((found) => found.length === 1);
  const laid = single ? [el("div", { class: "grid" }, ...grids.flat())] : grids.map((found) => el("div", { class: found.length === 2 ? "grid pair" : "grid" }, ...found));
  const what = "Mean over seeds; shaded: 95 % interval (of two seeds their range). A triangle below: an alarm. Dashed across: the teacher.";
  const running = runs.length === 1 && runs[0].state !== "finished" ? ` ${runs[0].name}: ${runs[0].state}.` : "";
  return section("curves", "Curves", ...controls(), el("p", { class: "soft" }, what + running), ...laid);
}

function render() {
  const focus = document.activeElement, label = focus?.closest("label, fieldset button")?.textContent, field = focus?.closest("fieldset")?.querySelector("legend")?.textContent;
  const shown = runs.filter((run) => view.runs.has(run.name));
  const damaged = DATA.damaged.map(({ name, problem }) => el("p", { class: "warn" }, `${name}: ${problem}`));
  if (DATA.omitted) damaged.push(el("p", { class: "warn" }, `${DATA.omitted} older directories are left out: name those to see.`));
  const sections = [
    ...(runs.length ? [curvesSection(shown), alarmsSection(shown, view.hidden), resultsSection(shown, view.hidden), videosSection(shown)] : []),
    ...comparisons.map((comparison, index) => comparisonSection(comparison, index, view)),
    ...(runs.length ? [settingsSection(shown)] : []),
  ].filter(Boolean);
  document.getElementById("content").replaceChildren(...damaged, ...sections);
  const titles = sections.map((each) => el("a", { href: `#${each.id}`, click: (event) => { event.preventDefault(); each.scrollIntoView(); each.querySelector("h2").focus(); } }, each.querySelector("h2").textContent));
  document.getElementById("sections").replaceChildren(...titles);
  // What was in focus was made anew: the keyboard goes on from where it was.
  for (const each of document.querySelectorAll("#curves fieldset label, #curves fieldset button"))
    if (label && each.textContent === label && each.closest("fieldset").querySelector("legend").textContent === field) (each.querySelector("input") || each).focus({ preventScroll: true });
}

document.getElementById("made").textContent = `as of ${DATA.made}`;
document.title = runs.length + comparisons.length === 1 ? (runs[0] || comparisons[0]).name : `${runs.length + comparisons.length} runs and comparisons`;
restore();
render();
