#!/bin/sh
# run.sh PROGRAM TEST.lua: a test of the energy counters in a mount namespace of its own, with an empty folder over
# /sys/class in which the test builds the tree that the real libpowercap reads. Nothing outside changes.
#
# These tests never skip: where tests/private.sh finds that it is not allowed they fail and say so, because nothing else
# would notice that the counters are read wrongly.
set -u
here=$(dirname "$0")
LUA_PATH_5_4="$here/?.lua;${LUA_PATH_5_4:-;;}"
export LUA_PATH_5_4
"$here/../private.sh" sh -c 'mkdir -p /sys/class && mount -t tmpfs -o mode=755 fake /sys/class && exec "$@"' sh "$@"
code=$?
[ "$code" -ne 125 ] || echo "FAILED: no mount namespace may be made here, so the energy counters cannot be tested; see tests/private.sh" >&2
exit "$code"
