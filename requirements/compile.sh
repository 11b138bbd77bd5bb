#!/bin/sh
# Re-creates every lock file from its .in, newest versions first.
#
#   requirements/compile.sh            take what is newest within the inputs
#   requirements/compile.sh --keep     keep the locked versions that the inputs still allow
#
# One lock serves Python 3.11 to 3.13 on every platform (--universal, --fork-strategy fewest: one
# version per package), each file by hash. Locks name packages only: no host, index or folder, so
# they install from whatever index or mirror pip is set up with.
set -eu
cd "$(dirname "$0")"

UV=0.13.9
venv=$(mktemp -d)
trap 'rm -rf "$venv"' EXIT
python3 -m venv "$venv"
"$venv/bin/pip" install --quiet "uv==$UV"

upgrade=--upgrade
[ "${1:-}" = --keep ] && upgrade=

lock() {
    name=$1
    shift
    "$venv/bin/uv" pip compile --quiet --no-config --universal --python-version 3.11 \
        --fork-strategy fewest --generate-hashes --no-header --no-annotate \
        --no-emit-index-url --no-emit-find-links $upgrade "$@" "$name.in" --output-file "$name.txt"
    echo "requirements/$name.txt: $(grep -c '==' "$name.txt") packages"
}

# In this order: the later sets are constrained by the earlier, as one environment holds them all.
lock run
lock test
lock check
lock local
lock local-nodeps --no-deps
