"""Fixtures of the tests of pages."""

from __future__ import annotations

from support.browser import browser, tab

__all__ = ["browser", "tab"]
