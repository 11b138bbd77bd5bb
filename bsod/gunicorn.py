"""gunicorn's configuration: `gunicorn -c bsod/gunicorn.py bsod.asgi:application`."""

import gc
from typing import Any

from bsod import settings

_host = f"[{settings.HOST}]" if ":" in settings.HOST else settings.HOST
bind = f"{_host}:{settings.PORT}"
workers = settings.WEB_CONCURRENCY
worker_class = "bsod.server.Worker"
asgi_lifespan = "on"
# Imported once and shared by the workers: each of them costs half the memory.
preload_app = True
backlog = 2048
worker_connections = 100_000
keepalive = 75
timeout = 60
# Calls get DRAIN_SECONDS, then a moment to close their entries.
graceful_timeout = int(settings.DRAIN_SECONDS) + 10
control_socket_disable = True
proc_name = "bsod"
loglevel = "warning"
logger_class = "bsod.serverlog.ServerLog"
accesslog = None
limit_request_line = 16_384
limit_request_field_size = 32_768
forwarded_allow_ips = ""


def when_ready(server: Any) -> None:
    """Before the first fork, so that all workers share it."""
    if settings.WARM_UP:
        # Not at the top: at the first line of this file the application has not been loaded.
        from bsod.warming import load

        load()


def post_fork(server: Any, worker: Any) -> None:
    """What is loaded by now lives as long as the worker: the collector need not look at it again,
    and its pages stay shared. What a call leaves behind is nearly all freed by counting."""
    gc.freeze()
    gc.set_threshold(10_000, 20, 20)


def post_worker_init(worker: Any) -> None:
    """What has a thread and a connection is a worker's own."""
    if settings.WARM_UP:
        from bsod.console.catalogue import read_ahead

        read_ahead()
