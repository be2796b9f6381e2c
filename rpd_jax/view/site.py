"""The site: one HTML page with everything that it shows, and the videos beside it."""

from __future__ import annotations

import base64
import contextlib
import datetime
import hashlib
import json
import re
import shutil
import threading
from collections.abc import Callable, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from rpd_jax.config.validation import ConfigError
from rpd_jax.report.results import COMPARISON_FILE, POINTS_FILE, RESULTS_FILE, VIDEO_FILE
from rpd_jax.report.styles import PALETTE, styles
from rpd_jax.runs.checkpoint import CONFIG_FILE
from rpd_jax.runs.files import atomic_path, write_json
from rpd_jax.runs.metrics import METRICS_FILE
from rpd_jax.runs.output_directory import Claim, Kind, check_path
from rpd_jax.view import comparison, places, run
from rpd_jax.view.places import Place

Json = dict[str, Any]
PAGE, DATA, VIDEOS = "index.html", "data.json", "videos"
KIND = Kind("output", "a page of runs", DATA, frozenset({"runs", "comparisons", "styles"}), (PAGE, VIDEOS))
POINTS, LEAST_POINTS = 200, 50  # of a curve: all on a page share ten runs' worth
POLICY = "default-src 'none'; media-src 'self'; img-src data:; base-uri 'none'; form-action 'none'"
READ = (CONFIG_FILE, METRICS_FILE, POINTS_FILE, RESULTS_FILE, VIDEO_FILE, COMPARISON_FILE)
SCRIPTS = ("elements.js", "chart.js", "sections.js", "page.js")


class Video(NamedTuple):
    """A file that the page shows: `name` of the run's `directory`."""

    directory: Path
    name: str

    def path(self) -> Path | None:
        """Where it is now; None where it is not, or must not be read."""
        try:
            return places.inside(self.directory, self.name, places.LARGEST_STREAM)
        except ConfigError:
            return None


class Site:
    """What there is to see in some directories, read anew where their files have changed.

    Args:
      paths: directories of runs and comparisons, or with such below.

    Raises:
      ConfigError: see `places.find`.
    """

    def __init__(self, paths: Sequence[Path | str]) -> None:
        self._paths = tuple(paths)
        self._known: dict[Path, tuple[object, Json]] = {}
        self._lock = threading.Lock()
        self.videos: dict[str, Video] = {}  # address -> file, of the page last made
        self.data = self.gather()

    def gather(self) -> Json:
        """All that the page shows; strict JSON."""
        with self._lock, np.errstate(all="ignore"):  # what overflows is null
            found, omitted = places.find(self._paths)
            points = max(LEAST_POINTS, min(POINTS, 10 * POINTS // len(found)))
            runs, comparisons, damaged, videos = [], [], [], {}
            for place in found:
                try:
                    if place.is_comparison:
                        comparisons.append(self._cached(place, comparison.gather))
                    else:
                        runs.append(self._cached(place, lambda place: run.gather(place, points), points))
                        if runs[-1]["video"]:
                            address = f"{VIDEOS}/{_digest(str(place.path).encode()).hex()[:16]}.mp4"
                            runs[-1]["video"] = address
                            videos[address] = Video(place.path, VIDEO_FILE)
                except ConfigError as error:
                    damaged.append({"name": place.name, "problem": str(error)})
            self.videos = videos
        made = {"runs": runs, "comparisons": comparisons, "damaged": damaged, "omitted": omitted}
        now = datetime.datetime.now().isoformat(" ", "minutes")
        self.data = {**made, "made": now, "styles": _styles(made), "palette": PALETTE}
        return self.data

    def page(self) -> bytes:
        """The page with the data that was gathered last."""
        return page(self.data)

    def write(self, output: Path | str, *, overwrite: bool = False) -> None:
        """Writes the site: index.html, which a browser opens without a server, data.json and the videos.

        Raises:
          ConfigError: `output` is not empty, and no page to overwrite.
        """
        output = Path(output)
        claim = Claim(output, KIND, lambda: check_path(output, KIND, resume=None, overwrite=overwrite))
        with claim:
            claim.clear()
            write_json(output / DATA, self.data)
            for address, video in self.videos.items():
                source = video.path()
                if source is not None:
                    (output / VIDEOS).mkdir(exist_ok=True)
                    shutil.copyfile(source, output / address)
            with atomic_path(output / PAGE) as path:
                path.write_bytes(self.page())

    def _cached(self, place: Place, gather: Callable[[Place], Json], *how: object) -> Json:
        """A copy of what was gathered of a place, if none of its files has changed since."""
        state: list[object] = [place.name, *how]
        for name in READ:
            with contextlib.suppress(FileNotFoundError):
                status = (place.path / name).stat()
                state.append((name, status.st_size, status.st_mtime_ns))
        known = self._known.get(place.path)
        if known is None or known[0] != state:
            known = self._known[place.path] = (state, gather(place))
        return dict(known[1])


def page(data: Json) -> bytes:
    """The HTML page: data, style and scripts are in it, and its policy lets no other script run."""

    def read(name: str) -> str:
        return (resources.files("rpd_jax.view") / "page" / name).read_text(encoding="utf-8")

    script, style = '"use strict";\n' + "\n".join(map(read, SCRIPTS)), read("page.css")
    sources = {"script-src": script, "style-src": style}
    allowed = "; ".join(
        f"{kind} 'sha256-{base64.b64encode(_digest(x.encode())).decode()}'" for kind, x in sources.items()
    )
    parts = {
        "policy": f"{POLICY}; {allowed}",
        "style": style,
        "script": script,
        # In a script element only "<" can begin something else than data.
        "data": json.dumps(data, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c"),
    }
    return re.sub(r"\{\{(\w+)\}\}", lambda found: parts[found[1]], read("page.html")).encode()


def _styles(data: Json) -> dict[str, int]:
    """Variant -> its place in the palette, the same everywhere on the page and in the run's own pictures."""
    names = [arm["name"] for each in data["comparisons"] for case in each["cases"] for arm in case["arms"]]
    for each in data["runs"]:
        names += [row["variant"] for row in each["rows"] if not row["teacher"]]
        names += [curve["variant"] for curves in each["metrics"].values() for curve in curves if curve["variant"]]
    return styles(names)


def _digest(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()
