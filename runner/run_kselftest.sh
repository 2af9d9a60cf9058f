#!/bin/sh
# Stands in for run_kselftest.sh in an installed kselftest tree: same options, same lines, run by seamless.
root=$(dirname "$0")
exec "${SEAMLESS:-seamless}" run_kselftest --root "$root" "$@"
