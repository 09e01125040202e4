"""Fixtures of the tests of differences."""

from __future__ import annotations

from support.git import repository

__all__ = ["repository"]
