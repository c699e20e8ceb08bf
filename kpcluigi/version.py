"""The version of this package, as it stands in every marker."""

from __future__ import annotations

from importlib.metadata import version

VERSION = version("kpcluigi")
