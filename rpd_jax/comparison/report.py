"""A comparison's report: report.md with tables and pictures, table.csv, table.tex and comparison.json."""

from __future__ import annotations

import csv
import datetime
import io
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rpd_jax.algorithms.variants import resolved
from rpd_jax.comparison import pictures, selection
from rpd_jax.comparison.aggregates import Estimate, interquartile_mean, probability_of_improvement
from rpd_jax.comparison.claims import Verdict
from rpd_jax.comparison.experiment import FINAL_EPISODES, TUNING_EPISODES, Experiment
from rpd_jax.comparison.outcome import ArmOutcome, CaseOutcome, scores
from rpd_jax.report.results import COMPARISON_FILE, commit, fingerprint, package_versions
from rpd_jax.report.table import render
from rpd_jax.runs.files import atomic_path, write_json

REPORT_FILE, CSV_FILE, TEX_FILE = "report.md", "table.csv", "table.tex"
LEVELS = (0.5, 0.8)
HEADERS = (
    "case",
    "arm",
    "success",
    "95 % interval",
    *(f"steps to {level}" for level in LEVELS),
    *(f"queries to {level}" for level in LEVELS),
    "queries",
    "setting",
    "note",
)


def write(
    experiment: Experiment,
    directory: Path | str,
    outcomes: Sequence[CaseOutcome],
    problems: Sequence[str],
    command: str,
) -> str:
    """Writes everything that there is to see of a comparison; returns report.md's text.

    Args:
      outcomes: of the cases that are done, at least one.
      problems: what the comparison's own checks found.
      command: that made it.
    """
    directory = Path(directory)
    verdicts = judged(experiment, outcomes)
    rows = [_cells(outcome, name, arm) for outcome in outcomes for name, arm in outcome.arms.items()]
    shown = pictures.draw(directory, experiment, outcomes)
    text = "\n\n".join(_sections(experiment, outcomes, problems, command, verdicts, rows, shown)) + "\n"
    for name, content in ((REPORT_FILE, text), (CSV_FILE, _csv(rows)), (TEX_FILE, _tex(rows))):
        with atomic_path(directory / name) as path:
            path.write_text(content)
    write_json(directory / COMPARISON_FILE, _json(experiment, outcomes, problems, command, verdicts))
    return text


def judged(experiment: Experiment, outcomes: Sequence[CaseOutcome]) -> list[Verdict | None]:
    """The verdict on each claim; None where not all cases are done."""
    if len(outcomes) < len(experiment.cases):
        return [None] * len(experiment.claims)
    found = scores(outcomes)
    return [claim.check(found) for claim in experiment.claims]


def _sections(
    experiment: Experiment,
    outcomes: Sequence[CaseOutcome],
    problems: Sequence[str],
    command: str,
    verdicts: Sequence[Verdict | None],
    rows: Sequence[Sequence[str]],
    shown: Mapping[str, str],
) -> list[str]:
    tried = len(experiment.arms[0].settings)
    how = (
        f"Each arm had {tried} settings to choose from, trained with {_seeds(experiment.tuning_seeds)} for "
        f"{experiment.tuning_steps or experiment.budgets[0]:,} steps. Chosen was {selection.RULE}. "
        if experiment.tuned
        else ""
    )
    found = [
        f"# {experiment.title}",
        f"{experiment.source}\n\n    {command}",
        f"{how}Figures are of {len(experiment.seeds)} fresh seeds and fresh episodes, the same for all arms.",
    ]
    if len(outcomes) < len(experiment.cases):
        found.append(f"**Not whole: {len(outcomes)} of {len(experiment.cases)} cases are done.**")
    if problems:
        found.append("**The comparison's own checks found:**\n\n" + "\n".join(f"* {each}" for each in problems))
    if experiment.claims:
        found += ["## Claims", _claims(experiment, verdicts)]
    found += ["## Results", render(HEADERS, rows, markdown=True)]
    if any(outcome.teacher or outcome.case.published for outcome in outcomes):
        found.append(render(("case", "teacher", "success", "steps", "published"), _cases(outcomes), markdown=True))
    found += ["## Over all cases", _over_all(experiment, outcomes)]
    found += [f"![{what}]({name})" for name, what in shown.items()]
    if experiment.deviations:
        found += ["## What differs from the paper", "\n".join(f"* {each}" for each in experiment.deviations)]
    return found


def _claims(experiment: Experiment, verdicts: Sequence[Verdict | None]) -> str:
    rows = []
    for claim, verdict in zip(experiment.claims, verdicts, strict=True):
        said = ("not judged yet", "") if verdict is None else (verdict.verdict, _signed(verdict))
        rows.append((claim.text, claim.published, said[1], said[0]))
    return render(("claim", "published", "difference in success [95 %]", "here"), rows, markdown=True)


def _signed(verdict: Verdict) -> str:
    return f"{verdict.estimate:+.2f} [{verdict.low:+.2f}, {verdict.high:+.2f}]"


def _cells(outcome: CaseOutcome, name: str, arm: ArmOutcome) -> list[str]:
    low, high = arm.interval
    reached = [selection.first_reaching(x, arm.curve, level) for x in (arm.steps, arm.queries) for level in LEVELS]
    asked = arm.queries[-1] > 0
    numbers = ["-" if each is None or (i >= len(LEVELS) and not asked) else _si(each) for i, each in enumerate(reached)]
    return [
        outcome.case.name,
        name,
        f"{arm.scores.mean():.3f}",
        f"[{low:.3f}, {high:.3f}]",
        *numbers,
        _si(arm.queries[-1]) if asked else "-",
        arm.setting,
        ", ".join(arm.remarks),
    ]


def _seeds(seeds: Sequence[int]) -> str:
    return f"{len(seeds)} seed{'s' if len(seeds) > 1 else ''}"


def _si(number: float) -> str:
    return f"{number / 1000:,.0f}k"


def _cases(outcomes: Sequence[CaseOutcome]) -> list[list[str]]:
    def teacher(outcome: CaseOutcome) -> tuple[str, str]:
        row = outcome.teacher
        if row is None:
            return "-", "-"
        return row.variant.removeprefix("teacher:"), f"{row.success_once:.3f} [{row.low:.3f}, {row.high:.3f}]"

    return [[o.case.name, *teacher(o), f"{o.steps:,}", o.case.published] for o in outcomes]


def _over_all(experiment: Experiment, outcomes: Sequence[CaseOutcome]) -> str:
    found = aggregated(experiment, outcomes)
    rows = [
        (name, _estimate(each["iqm"]), _estimate(each["improvement"]) if each["improvement"] else "-")
        for name, each in found.items()
    ]
    headers = ("arm", "interquartile mean", f"probability of improvement over {experiment.baseline}")
    return render(headers, rows, markdown=True)


def aggregated(experiment: Experiment, outcomes: Sequence[CaseOutcome]) -> dict[str, dict[str, Estimate | None]]:
    """Of each arm the interquartile mean over cases and seeds, and the probability of improvement over the baseline."""
    by_arm = {arm.name: np.stack([o.arms[arm.name].scores for o in outcomes]) for arm in experiment.arms}
    base = by_arm[experiment.baseline]
    return {
        name: {
            "iqm": interquartile_mean(found),
            "improvement": None if name == experiment.baseline else probability_of_improvement(found, base),
        }
        for name, found in by_arm.items()
    }


def _estimate(estimate: Estimate | None) -> str:
    return "-" if estimate is None else f"{estimate.value:.3f} [{estimate.low:.3f}, {estimate.high:.3f}]"


def _csv(rows: Sequence[Sequence[str]]) -> str:
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows([HEADERS, *rows])
    return out.getvalue()


def _tex(rows: Sequence[Sequence[str]]) -> str:
    """A booktabs table of success rates and steps."""

    def escaped(cell: str) -> str:
        return cell.replace("%", r"\%").replace("_", r"\_").replace("#", r"\#")

    keep = range(4 + len(LEVELS))
    lines = [" & ".join(escaped(row[i]) for i in keep) + r" \\" for row in (HEADERS, *rows)]
    body = [lines[0], r"\midrule", *lines[1:]]
    columns = "ll" + "r" * (len(keep) - 2)
    return "\n".join([rf"\begin{{tabular}}{{{columns}}}", r"\toprule", *body, r"\bottomrule", r"\end{tabular}"]) + "\n"


def _json(
    experiment: Experiment,
    outcomes: Sequence[CaseOutcome],
    problems: Sequence[str],
    command: str,
    verdicts: Sequence[Verdict | None],
) -> dict[str, Any]:
    """Everything that the report says, with what is needed to tell what made it."""
    versions = package_versions()
    configs = {o.case.name: resolved(experiment.tuning(o.case, o.case.name)).to_dict() for o in outcomes}
    overall = aggregated(experiment, outcomes)
    return {
        "experiment": experiment.name,
        "title": experiment.title,
        "source": experiment.source,
        "command": command,
        "date": datetime.date.today().isoformat(),
        "machine": f"{platform.machine()}, {experiment.machine}",
        "commit": commit(),
        "versions": versions,
        "fingerprint": fingerprint(configs, versions),
        "rule": selection.RULE,
        "evaluation_seeds": {"tuning": TUNING_EPISODES, "final": FINAL_EPISODES},
        "seeds": {"tuning": list(experiment.tuning_seeds), "final": list(experiment.seeds)},
        "problems": list(problems),
        "claims": [
            {"text": c.text, "published": c.published, "arms": c.check.arms, "cases": c.check.cases}
            | ({} if v is None else v._asdict())
            for c, v in zip(experiment.claims, verdicts, strict=True)
        ],
        "over_all": {n: {k: e and e._asdict() for k, e in found.items()} for n, found in overall.items()},
        "cases": [_case_json(experiment, outcome) for outcome in outcomes],
        "deviations": list(experiment.deviations),
    }


def _case_json(experiment: Experiment, outcome: CaseOutcome) -> dict[str, Any]:
    settings = {arm.name: arm.settings for arm in experiment.arms}
    return {
        "name": outcome.case.name,
        "changes": dict(outcome.case.changes),
        "published": outcome.case.published,
        "steps": outcome.steps,
        "teacher": outcome.teacher and outcome.teacher.to_json(),
        "arms": {
            name: {
                "setting": arm.setting,
                "scores": arm.scores.tolist(),
                "episodes": int(arm.episodes[0, -1]),
                "interval": arm.interval,
                "rising": arm.rising,
                "note": arm.note,
                "steps": arm.steps.tolist(),
                "queries": arm.queries.tolist(),
                "curve": arm.curve.tolist(),
                "counts": arm.episodes.tolist(),
                "tuning": {s: c[:, -1].tolist() for s, c in zip(settings[name], arm.tuning, strict=False)},
            }
            for name, arm in outcome.arms.items()
        },
    }
