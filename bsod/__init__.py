"""The project: settings, the entry points of both planes, and the ground floor in `lib`."""
