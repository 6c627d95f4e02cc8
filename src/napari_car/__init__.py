"""Undo what JPEG compression did to a picture."""

__version__ = "0.1.0"
