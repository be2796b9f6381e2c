"""What mkdocs needs beyond mkdocs.yml: README as home page, pages from elsewhere in the repository, links to source.

Markdown here links to files as they lie in the repository, so that it reads the same in a checkout and on the site.
A link to a file that the site does not have becomes one to the repository's address, which setup.cfg states.
"""

from __future__ import annotations

import configparser
import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

from rpd_jax.launch import preset_table
from rpd_jax.presets import PRESETS

ROOT = Path(__file__).parents[1]
HOME = {"README.md": "index.md"}
ELSEWHERE = ("CHANGELOG.md", "CONTRIBUTING.md", "WORKSPACE.md", "benchmarks/**/*.md", "experiments/**/*.md")
PICTURES = ("benchmarks/results/*.png", "benchmarks/results/*.gif", "experiments/**/*.png")
LINK = re.compile(r"(?<=\]\()(?!\w+:|#)([^)\s#]+)")


def places() -> dict[str, str]:
    """Path in the repository -> path on the site, of files outside docs/."""
    found = [path for pattern in (*ELSEWHERE, *PICTURES) for path in ROOT.glob(pattern)]
    return HOME | {name: name for path in found for name in [path.relative_to(ROOT).as_posix()]}


def on_config(config: Any) -> None:
    settings = configparser.ConfigParser()
    settings.read(ROOT / "setup.cfg")
    urls = dict(line.split(" = ") for line in settings["metadata"]["project_urls"].strip().splitlines())
    # Not as `repo_url`: the theme would ask GitHub about it whenever a page is read.
    config["extra"]["source"] = urls["Source"]
    config["nav"].append({"Source": urls["Source"]})


def on_files(files: Files, config: Any) -> None:
    for path, uri in places().items():
        files.append(File.generated(config, uri, abs_src_path=str(ROOT / path)))


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    markdown = markdown.replace("<!-- presets -->", presets())
    here = {uri: path for path, uri in places().items()}.get(page.file.src_uri, f"docs/{page.file.src_uri}")

    def moved(link: re.Match[str]) -> str:
        path = posixpath.normpath(posixpath.join(posixpath.dirname(here), link[1]))
        if not (ROOT / path).exists():
            return link[1]  # a mistake, which mkdocs reports
        uri = path.removeprefix("docs/") if path.startswith("docs/") else places().get(path)
        if uri is None or files.get_file_from_path(uri) is None:
            return f"{config['extra']['source']}/{'tree' if (ROOT / path).is_dir() else 'blob'}/main/{path}"
        return posixpath.relpath(uri, posixpath.dirname(page.file.src_uri) or ".")

    return LINK.sub(moved, markdown)


def presets() -> str:
    """The presets as a table, from the code that `rpd-jax presets` prints them with."""
    rows = [
        f"| `{name}` | {preset_table.size(name)} | {preset_table.duration(name)} | {preset_table.summary(name)} |"
        for name in PRESETS
    ]
    return "\n".join(["| preset | members x steps | on two CPU cores | what it is |", "|---|--:|--:|---|", *rows])
