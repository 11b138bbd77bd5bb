"""Names the moments at which a process may die, so that tests can make it die there.

Every step of a call and every commit carries `@step("name")`. In production the decorator
returns the function untouched. With `KILL_AT=name:before|after:nth` in the environment the
process kills itself (SIGKILL, as the kernel would) at the nth passage of that moment. With
`KILL_MARK=path` beside it only the first process that gets there dies, and leaves that file.
"""

import functools
import inspect
import itertools
import os
import signal
from collections.abc import Callable
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])

STEPS: list[str] = []


def step(name: str) -> Callable[[F], F]:
    """Mark a function as a kill point called `name`."""
    STEPS.append(name)
    wanted, _, rest = os.environ.get("KILL_AT", "").partition(":")
    if wanted != name:
        return lambda function: function
    when, _, nth = rest.partition(":")
    die = _death(int(nth or 1))
    before = die if when == "before" else _live
    after = die if when == "after" else _live
    return lambda function: _wrap(function, before, after)


def _live() -> None:
    """The moment passes and nothing happens."""


def _death(nth: int) -> Callable[[], None]:
    passages = itertools.count(1)

    def die() -> None:
        if next(passages) == nth and _first():
            os.kill(os.getpid(), signal.SIGKILL)

    return die


def _first() -> bool:
    """Whether nobody has died here yet, as far as that is asked for."""
    path = os.environ.get("KILL_MARK")
    if path:
        try:
            os.close(os.open(path, os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return False
    return True


def _wrap(function: F, before: Callable[[], None], after: Callable[[], None]) -> F:
    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def awaited(*args: Any, **kwargs: Any) -> Any:
            before()
            result = await function(*args, **kwargs)
            after()
            return result

        return awaited  # type: ignore[return-value]  # the same signature, which mypy cannot see

    @functools.wraps(function)
    def called(*args: Any, **kwargs: Any) -> Any:
        before()
        result = function(*args, **kwargs)
        after()
        return result

    return called  # type: ignore[return-value]  # as above
