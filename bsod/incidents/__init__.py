"""Notes on the status page that an admin writes: what happened, since when, and how it stands."""
