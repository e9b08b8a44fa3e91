#!/bin/sh
# private.sh COMMAND...: runs it where what it mounts is its own and gone with it. Exits with 125 where that is not
# allowed: it needs root, or user namespaces for everybody (sysctl kernel.unprivileged_userns_clone=1 on Debian; in a
# container: --cap-add SYS_ADMIN and no seccomp or AppArmor profile that forbids mount).
set -u
probe='mount -t tmpfs probe "${TMPDIR:-/tmp}"'
for space in "unshare --mount" "unshare --user --map-root-user --mount"; do
  # shellcheck disable=SC2086 # words
  if $space sh -c "$probe" 2>/dev/null; then exec $space "$@"; fi
done
# In a chroot / is no mount, and unshare cannot make it private; so each mount that is there is made private by its name.
own='for m in $(cut -d" " -f5 /proc/self/mountinfo); do mount --make-private "$m" || exit 125; done; '
if unshare --mount --propagation unchanged sh -c "$own$probe" 2>/dev/null; then
  exec unshare --mount --propagation unchanged sh -c "$own"'exec "$@"' sh "$@"
fi
exit 125
