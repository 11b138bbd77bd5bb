"""API keys: what one is, what it may do, and how it is told from a forgery."""
