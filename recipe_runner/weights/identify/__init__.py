"""Identify a weights file or folder from headers and configurations alone."""
