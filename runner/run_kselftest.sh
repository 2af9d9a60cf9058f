#!/bin/sh
# Stands in for run_kselftest.sh in an installed kselftest tree: same options, same lines, run by seamless. The tree may
# bring its own; SEAMLESS names another.
root=$(dirname "$0")
if [ -z "$SEAMLESS" ] && [ -x "$root/runtime/seamless" ]; then
	SEAMLESS=$root/runtime/seamless
fi
exec "${SEAMLESS:-seamless}" run_kselftest --root "$root" "$@"
