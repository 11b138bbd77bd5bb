"""One metered call, step by step: parse, admit, dispatch, relay, close."""
