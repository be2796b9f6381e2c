// The sections below the curves, each made of the runs that are shown.

function section(id, title, ...children) {
  return el("section", { id, "aria-labelledby": `${id}-title` }, el("h2", { id: `${id}-title`, tabindex: -1 }, title), ...children);
}

function resultsSection(runs, hidden) {
  const rows = runs.flatMap((run) => run.rows.filter((row) => !hidden.has(row.variant)).map((row) => ({ ...row, run: run.name })));
  if (rows.length === 0) return null;
  const training = (row, name) => (row.teacher ? null : row[name]);
  const kinds = { range: "range of two seeds", episodes: "over episodes", bootstrap: "bootstrap" };
  const columns = [
    { label: "run", text: (row) => row.run, wide: true },
    { label: "environment", text: (row) => row.env },
    { label: "variant", text: (row) => row.variant, cell: (row) => named(row.variant), wide: true },
    { label: "success once", number: true, text: (row) => digits(row.success_once), sort: (row) => row.success_once },
    { label: "95 % interval", text: (row) => between(row.low, row.high) + (kinds[row.interval] ? ` ${kinds[row.interval]}` : ""), sort: (row) => row.low },
    { label: "success at end", number: true, text: (row) => digits(row.success_at_end), sort: (row) => row.success_at_end },
    { label: "return", number: true, text: (row) => digits(row.return, 2), sort: (row) => row.return },
    { label: "seeds", number: true, text: (row) => training(row, "seeds") ?? "-", sort: (row) => training(row, "seeds") },
    { label: "env steps", number: true, text: (row) => whole(training(row, "env_steps")), sort: (row) => training(row, "env_steps") },
    { label: "teacher calls", number: true, text: (row) => whole(training(row, "teacher_calls")), sort: (row) => training(row, "teacher_calls") },
    { label: "seconds", number: true, text: (row) => whole(training(row, "seconds")), sort: (row) => training(row, "seconds") },
    { label: "note", text: (row) => row.note, wide: true },
  ].filter((column) => column.label !== "note" || rows.some((row) => row.note));
  return section("results", "Results", table("Results", columns, rows));
}

function alarmsSection(runs, hidden) {
  const shown = runs.flatMap((run) => [
    ...run.problems.map((text) => ({ run: run.name, variant: "", text })),
    ...run.rows.filter((row) => row.note && row.variant && !hidden.has(row.variant)).map((row) => ({ run: run.name, variant: row.variant, text: row.note })),
    ...run.alarms.filter((each) => !hidden.has(each.variant)).map((each) => ({
      run: run.name, variant: each.variant, step: each.step,
      text: `${each.alarm}: ${each.variant ? `seed ${each.seeds.join(", ")} (${each.seeds.length} of ${each.of}), ` : ""}first at step ${whole(each.step)}`,
    })),
  ]);
  if (shown.length === 0) return null;
  return section("alarms", "Alarms and notes", table("Alarms and notes", [
    { label: "run", text: (row) => row.run, wide: true },
    { label: "variant", text: (row) => row.variant, cell: (row) => (row.variant ? named(row.variant) : []), wide: true },
    { label: "what", text: (row) => row.text, wide: true },
  ], shown));
}

function videosSection(runs) {
  const filmed = runs.filter((run) => run.video);
  if (filmed.length === 0) return null;
  const videos = filmed.map((run) => el("video", { src: run.video, controls: true, loop: true, playsinline: true, preload: "metadata", "aria-label": `Episodes of ${run.name}` }));
  for (const video of videos) video.muted = true;
  const figures = filmed.map((run, i) => el("figure", {}, el("figcaption", {}, run.name), videos[i]));
  const all = (act) => () => videos.forEach(act);
  const restart = all((video) => { video.currentTime = 0; video.play().catch(() => {}); });
  return section("videos", "Videos",
    el("p", { class: "soft" }, "A column for each policy, a row for each episode; green frames: success. ",
      el("button", { type: "button", click: restart }, "Play all from the start"), " ",
      el("button", { type: "button", click: all((video) => video.pause()) }, "Pause all")),
    el("div", { class: "grid" }, ...figures));
}

function settingsSection(runs) {
  const names = [...new Set(runs.flatMap((run) => Object.keys(run.settings)))].filter((name) => name !== "run.directory");
  if (names.length === 0) return null;
  const differ = names.filter((name) => new Set(runs.map((run) => run.settings[name])).size > 1);
  const found = el("div");
  function show(words) {
    const kept = words ? names.filter((name) => name.includes(words)) : runs.length > 1 ? differ : [];
    const columns = runs.map((run) => ({ label: run.name, text: (name) => run.settings[name] ?? "-", wide: true }));
    found.replaceChildren(kept.length ? table("Settings", [{ label: "setting", text: (name) => name }, ...columns], kept)
      : el("p", { class: "soft" }, words ? "No setting has such a name." : runs.length > 1 ? "The runs have the same settings." : "Search for a setting by its name."));
  }
  show("");
  const search = el("input", { type: "search", placeholder: "name of a setting", "aria-label": "Search settings", input: (event) => show(event.target.value.trim()) });
  return section("settings", "Settings", el("p", { class: "soft" }, runs.length > 1 ? "Where the runs differ. " : "", search), found);
}

const VERDICTS = { holds: "holds", "does not hold": "fails" };

function verdictPill(claim) {
  const verdict = claim.verdict || "not judged yet";
  return el("span", { class: `pill ${VERDICTS[verdict] || "open"}` }, verdict);
}

const signed = (value) => (value === null ? "-" : `${value < 0 ? "" : "+"}${value.toFixed(2)}`);
const estimate = (found, count = 3) => (found ? `${digits(found.value, count)} ${between(found.low, found.high, count)}` : "-");

function comparisonSection(comparison, index, view) {
  const parts = [
    comparison.source ? el("p", {}, comparison.source) : null,
    el("p", { class: "soft" }, el("code", {}, comparison.command), ` ${[comparison.date, comparison.machine, comparison.commit].filter(Boolean).join(", ")}`),
    comparison.problems.length ? el("ul", { class: "warn" }, ...comparison.problems.map((text) => el("li", {}, text))) : null,
    comparison.claims.length ? table("Claims", [
      { label: "claim", text: (claim) => claim.text, wide: true },
      { label: "published", text: (claim) => claim.published },
      { label: "difference in success [95 %]", text: (claim) => (claim.estimate === null ? "" : `${signed(claim.estimate)} [${signed(claim.low)}, ${signed(claim.high)}]`), sort: (claim) => claim.estimate },
      { label: "here", text: (claim) => claim.verdict, cell: (claim) => [verdictPill(claim)] },
    ], comparison.claims) : null,
  ];
  const rows = comparison.cases.flatMap((each) => each.arms.map((arm) => ({ ...arm, case: each.name })));
  parts.push(el("h3", {}, "Results"), table("Results of the comparison", [
    { label: "case", text: (row) => row.case },
    { label: "arm", text: (row) => row.name, cell: (row) => named(row.name) },
    { label: "success", number: true, text: (row) => digits(row.score), sort: (row) => row.score },
    { label: "95 % interval", text: (row) => between(row.low, row.high), sort: (row) => row.low },
    { label: "queries", number: true, text: (row) => (row.queries ? whole(row.queries) : "-"), sort: (row) => row.queries },
    { label: "setting", text: (row) => row.setting, wide: true },
    { label: "note", text: (row) => [row.rising ? "still rising" : "", row.note].filter(Boolean).join(", "), wide: true },
  ], rows));
  if (Object.keys(comparison.over_all).length) {
    parts.push(el("h3", {}, "Over all cases"), table("Over all cases", [
      { label: "arm", text: ([name]) => name, cell: ([name]) => named(name) },
      { label: "interquartile mean", text: ([, found]) => estimate(found.iqm), sort: ([, found]) => found.iqm?.value },
      { label: "probability of improvement over the baseline", text: ([, found]) => estimate(found.improvement), sort: ([, found]) => found.improvement?.value },
    ], Object.entries(comparison.over_all)));
  }
  const rate = { rate: true, seeds: view.seeds };
  const lines = (arms) => arms.map((arm) => lineOf(arm.curve, arm.name, styleOf(arm.name), view.queries)).filter(Boolean);
  const levels = (each) => (each.teacher ? [{ name: "teacher", ...each.teacher }] : []);
  const curves = comparison.cases.map((each) => chart({ title: each.name, subtitle: "success", lines: lines(each.arms), levels: levels(each), options: { ...rate, ...axisOf(view.queries) } }));
  const sensitivity = comparison.cases.map(sensitivityChart).filter(Boolean);
  const profile = comparison.profile.map((each) => lineOf(each, each.variant, styleOf(each.variant), false));
  if (profile.length) sensitivity.push(chart({ title: "All cases", subtitle: "share of runs above a success rate", lines: profile, options: { rate: true, xLabel: "success rate" } }));
  parts.push(legend(comparison.cases[0]?.arms.map((arm) => arm.name) || [], comparison.cases.some((each) => each.teacher)),
    el("div", { class: "grid" }, ...curves.filter(Boolean), ...sensitivity.filter(Boolean)));
  if (comparison.deviations.length) parts.push(el("h3", {}, "What differs from the paper"), el("ul", {}, ...comparison.deviations.map((text) => el("li", {}, text))));
  return section(`comparison-${index}`, comparison.title || comparison.name, ...parts);
}

/** Success in tuning over the coefficient, with the best of the other choices: of the arms that tried several. */
function sensitivityChart(each) {
  const lines = [];
  for (const arm of each.arms) {
    const best = new Map();
    for (const tried of arm.tuning) if (tried.coefficient > 0) best.set(tried.coefficient, Math.max(tried.score, best.get(tried.coefficient) ?? 0));
    const x = [...best.keys()].sort((a, b) => a - b);
    if (x.length > 1) lines.push({ name: arm.name, x, mean: x.map((value) => best.get(value)), style: styleOf(arm.name) });
  }
  return lines.length ? chart({ title: each.name, subtitle: "success in tuning over the coefficient", lines, options: { rate: true, logX: true, xLabel: "coefficient" } }) : null;
}

function legend(variants, teacher) {
  const entries = variants.map((name) => el("span", { class: "chip" }, ...named(name)));
  if (teacher) entries.push(el("span", { class: "chip" }, swatch({ colour: "currentColor", marker: null, dash: "6 4" }), "teacher"));
  return el("p", {}, ...entries.flatMap((entry) => [entry, " "]));
}
