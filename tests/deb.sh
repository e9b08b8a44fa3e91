#!/bin/sh
# The Debian package in a fresh Debian 12, as root: builds it into build-deb/, installs it with its recommendations into a
# chroot, where a user without rights runs it from a folder of his own, removes it, and compares what is left with what
# was there before. Needs the network and some minutes; not part of run.sh. WATTLE_DEBIAN=DIR: a bookworm made by
# `debootstrap --variant=minbase bookworm DIR`, which is copied instead of made anew. Arguments go to `wattle mei2025`.
set -eu
export LC_ALL=C # one order for sort and comm
cd "$(dirname "$0")/.."
. examples/setup.sh
[ "$(id -u)" -eq 0 ] || { echo "deb: a chroot needs root" >&2 && exit 1; }
# shellcheck disable=SC2086 # the list is meant to split
need_packages $build_packages dpkg-dev file debootstrap

build_tree build-deb -DCMAKE_INSTALL_PREFIX=/usr -DWATTLE_TESTS=OFF
built=$(git describe --always --dirty --abbrev=12)
(cd build-deb && rm -f ./*.deb && cpack -G DEB)
[ "$#" -gt 0 ] || set -- --quick --seeds 1 --techniques baseline,scr_zero --bits 8

root=$(mktemp -d /var/tmp/wattle-deb.XXXXXX)
leave() {
  umount "$root/proc" "$root/dev" 2>/dev/null || true
  rm -rf --one-file-system "$root"
}
trap leave EXIT
if [ -n "${WATTLE_DEBIAN:-}" ]; then
  cp -a "$WATTLE_DEBIAN/." "$root"
else
  debootstrap --variant=minbase bookworm "$root" http://deb.debian.org/debian
fi
chmod 755 "$root"
cp /etc/resolv.conf "$root/etc/resolv.conf"
for file in /etc/apt/apt.conf.d/*; do # a proxy, for example; not what empties apt's folders
  case $file in *docker*) ;; *) cp "$file" "$root/etc/apt/apt.conf.d/" ;; esac
done
mount -t proc proc "$root/proc"
mount --bind /dev "$root/dev"

inside() { chroot "$root" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive "$@"; }
# What there is, apart from apt's and dpkg's own books, logs and caches.
list() {
  (cd "$root" && find . -xdev \( -path ./proc -o -path ./dev -o -path ./sys -o -path ./tmp -o -path ./var/lib/apt -o -path ./var/lib/dpkg \
    -o -path ./var/cache -o -path ./var/log \) -prune -o -print | sort)
}

inside apt-get update
inside useradd --create-home --shell /bin/sh somebody
list >"$root/tmp/before"
inside dpkg-query -W >"$root/tmp/packages"
cp build-deb/wattle_*.deb "$root/tmp"
inside sh -c 'apt-get install -y /tmp/wattle_*.deb'
inside su - somebody -c "mkdir -p a/folder && cd a/folder && wattle mei2025 --threads 1 --out here $* && cat here/runs.csv"
revision=$(inside su - somebody -c 'cd / && wattle -e "print((require [[wattle]].core.build_info():match [[git: (%S+)]]))"')
[ "$revision" = "$built" ] || { echo "deb: it says that it is $revision, not $built" >&2 && exit 1; }
list >"$root/tmp/installed"
inside dpkg-query -W >"$root/tmp/packages-installed"
inside apt-get purge -y wattle
rm -r "$root/home/somebody/a"
find "$root" -xdev -mindepth 1 -path "$root/proc" -prune -o -path "$root/tmp" -prune -o -path "$root/var/log" -prune -o -name '*wattle*' -print | grep . && exit 1
# The packages that came with it go, also those that others suggest.
inside apt-get autoremove -y --purge -o APT::AutoRemove::SuggestsImportant=false -o APT::AutoRemove::RecommendsImportant=false
inside dpkg-query -W | diff "$root/tmp/packages" - || exit 1
list >"$root/tmp/after"
echo "packages that came: $(comm -13 "$root/tmp/packages" "$root/tmp/packages-installed" | wc -l); files and folders:" \
  "$(comm -13 "$root/tmp/before" "$root/tmp/installed" | wc -l); left, by scripts of other packages, outside /usr and /home:"
diff "$root/tmp/before" "$root/tmp/after" | grep '^[<>]' || echo "none"
! diff "$root/tmp/before" "$root/tmp/after" | grep -qE '^<|^> ./(usr|home|opt|root|srv)'
