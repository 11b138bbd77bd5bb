"""Choosing the reply: rules first (the newest that matches), then the queue, then the default.

An answer is a `Reply`, or a function from the request to one. A rule with one answer holds for
ever; a rule with a list gives each of them once, in order, and then steps aside.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .reply import Reply
from .seen import Seen

Answer = Reply | Callable[[Seen], Reply]


@dataclass
class Rule:
    """Conditions on the head of a request (None: any), and what to answer."""

    path_suffix: str | None
    key: str | None
    method: str | None
    answers: Answer | deque[Answer]

    def take(self, seen: Seen) -> Answer | None:
        if not seen.matches(self.path_suffix, self.key, self.method):
            return None
        if isinstance(self.answers, deque):
            return self.answers.popleft() if self.answers else None
        return self.answers


class Script:
    """The rules, the queue and the default, changed by tests while the server reads them."""

    def __init__(self, default: Answer) -> None:
        self._lock = threading.Lock()
        self._fresh = default
        self.reset()

    def reset(self) -> None:
        with self._lock:
            self.default = self._fresh
            self._queue: deque[Answer] = deque()
            self._rules: list[Rule] = []

    def add(self, answers: Sequence[Answer]) -> None:
        with self._lock:
            self._queue.extend(answers)

    def add_rule(
        self,
        answers: Answer | Sequence[Answer],
        path_suffix: str | None,
        key: str | None,
        method: str | None,
    ) -> None:
        kept = deque(answers) if isinstance(answers, Sequence) else answers
        with self._lock:
            self._rules.insert(0, Rule(path_suffix, key, method, kept))

    def choose(self, seen: Seen) -> Answer:
        """Take the answer for a request of which only the head has come."""
        with self._lock:
            for rule in self._rules:
                if (answer := rule.take(seen)) is not None:
                    return answer
            return self._queue.popleft() if self._queue else self.default

    @property
    def pending(self) -> int:
        """Replies of the queue that no request has taken yet."""
        return len(self._queue)
