"""The fault server by hand: an honest small provider that prints what it is asked.

python -m tests.upstream --port 8900 --words 40 --delay 0.05
"""

from __future__ import annotations

import argparse
import signal

from . import FaultServer, Reply, Seen, chat, chat_stream, provider


def main() -> None:
    asked = _arguments()

    def answer(seen: Seen) -> Reply:
        print(f"{seen.method} {seen.path} {seen.body_length} bytes", flush=True)
        if not seen.matches("/chat/completions", method="POST"):
            return provider(seen)
        words = ["word "] * asked.words
        if b'"stream":true' in seen.body.replace(b" ", b""):
            return chat_stream(words, completion_tokens=asked.words, delay_between=asked.delay)
        return chat("".join(words), completion_tokens=asked.words)

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with FaultServer(asked.port) as up:
        up.default = answer
        print(f"listening on {up.base_url}", flush=True)
        try:
            signal.pause()
        except KeyboardInterrupt:
            print(f"stopped after {up.count()} requests", flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="A provider by hand, for trying a gateway.")
    parser.add_argument("--port", type=int, default=8900)
    parser.add_argument("--words", type=int, default=8, help="words per chat answer")
    parser.add_argument("--delay", type=float, default=0.05, help="seconds between stream chunks")
    return parser.parse_args()


if __name__ == "__main__":
    main()
