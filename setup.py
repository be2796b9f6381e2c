"""README as the long description, with links that work outside of the repository; everything else is in setup.cfg."""

import configparser
import re
from pathlib import Path

from setuptools import setup

ROOT = Path(__file__).parent
settings = configparser.ConfigParser()
settings.read(ROOT / "setup.cfg")
urls = dict(line.split(" = ") for line in settings["metadata"]["project_urls"].strip().splitlines())
links = re.compile(r"(!?\[[^\]]*\]\()(?!\w+:|#)")


def absolute(link: re.Match[str]) -> str:
    return f"{link[1]}{urls['Source']}/{'raw' if link[1].startswith('!') else 'blob'}/main/"


setup(long_description=links.sub(absolute, (ROOT / "README.md").read_text()))
