#!/bin/sh
# run.sh PROGRAM TEST.lua: a test of the energy counters in a mount namespace of its own, with an empty folder over
# /sys/class in which the test builds the tree that the real libpowercap reads. Nothing outside changes.
#
# Needs root, or user namespaces for everybody (sysctl kernel.unprivileged_userns_clone=1 on Debian; in a container:
# --cap-add SYS_ADMIN and no seccomp or AppArmor profile that forbids mount), util-linux (unshare, setpriv). These tests
# never skip: where that is not allowed they fail and say so, because nothing else would notice that the counters are
# read wrongly.
set -u
LUA_PATH_5_4="$(dirname "$0")/?.lua;${LUA_PATH_5_4:-;;}"
export LUA_PATH_5_4
inside='mount -t tmpfs -o mode=755 fake /sys/class && exec "$@"'
for space in "unshare --mount" "unshare --user --map-root-user --mount"; do
  if $space sh -c "$inside" sh true 2>/dev/null; then
    # shellcheck disable=SC2086 # words
    exec $space sh -c "$inside" sh "$@"
  fi
done
echo "FAILED: no mount namespace may be made here, so the energy counters cannot be tested; see $0" >&2
exit 1
