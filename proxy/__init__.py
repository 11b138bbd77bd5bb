"""The data plane: routes, providers, the key pool, and in `gateway` the journey of a call."""
