"""The page's file: what it holds, what its policy lets run, and where it is written."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from pathlib import Path

import made_up
import pytest

from rpd_jax.config.validation import ConfigError
from rpd_jax.report.styles import PALETTE
from rpd_jax.view.site import Site

HOSTILE = '</script><script>document.title="owned"</script><img src=x onerror=alert(1)>'


def test_a_variant_looks_the_same_everywhere(runs: Path) -> None:
    made_up.comparison(runs / "smoke")
    data = Site([runs]).data
    assert data["styles"] == {"ppo": 0, "rpd-mse": 1, "ppd": 4} and data["palette"] == PALETTE
    assert [each["name"] for each in data["runs"]] == ["one", "two"]


def test_text_of_files_stays_text_and_only_our_script_may_run(tmp_path: Path) -> None:
    made_up.run(tmp_path / "run", {HOSTILE: 0.5}, note=HOSTILE)
    page = Site([tmp_path]).page().decode()
    data = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    assert data is not None and json.loads(data[1])["runs"][0]["rows"][1]["note"] == HOSTILE
    assert page.count("<script") == page.count("</script>") == 2 and "<img" not in page
    script = re.search(r"<script>(.*?)</script>", page, re.DOTALL)
    assert script is not None
    digest = base64.b64encode(hashlib.sha256(script[1].encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in page and "default-src 'none'" in page
    assert "http://" not in page.replace("http://www.w3.org/2000/svg", "") and "https://" not in page


def test_what_is_damaged_is_one_line_and_the_rest_is_there(runs: Path) -> None:
    made_up.comparison(runs / "broken", cases=0)
    data = Site([runs]).data
    assert [each["name"] for each in data["damaged"]] == ["broken"] and len(data["runs"]) == 2


def test_it_is_written_as_files(runs: Path, tmp_path: Path) -> None:
    site, output = Site([runs]), tmp_path / "page"
    site.write(output)
    assert (output / "index.html").read_bytes() == site.page()
    assert json.loads((output / "data.json").read_text())["runs"][1]["name"] == "two"
    (address,) = site.videos
    assert (output / address).read_bytes() == bytes(range(256))
    with pytest.raises(ConfigError, match="use overwrite=True"):
        site.write(output)
    site.write(output, overwrite=True)
    with pytest.raises(ConfigError, match="is not a page of runs"):
        site.write(runs / "one", overwrite=True)
    assert (runs / "one" / "config.json").is_file()
