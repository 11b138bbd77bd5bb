"""The project: settings, the entry points of both planes, and the ground floor in `lib`."""

__version__ = "0.1.0"
