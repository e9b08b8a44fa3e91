#!/bin/sh
# The core on 64-bit ARM, from a clean Debian 12 on x86-64: installs the cross compiler and qemu-user, puts the arm64
# packages of the libraries into build-aarch64/sysroot (the machine's own packages and architectures stay as they are),
# builds with core/cmake/aarch64-linux-gnu.cmake and runs the core's tests and the networks of tests/golden under qemu.
# Arguments go to ctest instead of that choice: ./tests/aarch64.sh -R lua.test_optim. The argument "build" stops before.
set -eu
cd "$(dirname "$0")/.."
. examples/setup.sh

tree=$PWD/build-aarch64
sysroot=$tree/sysroot
# shellcheck disable=SC2086 # the list is meant to split
need_packages $build_packages $cross_packages
libraries=libcmocka-dev
for package in $build_packages; do
  case $package in
    libdnnl-dev) ;; # not for ARM
    lib*-dev | zlib1g-dev) libraries="$libraries $package" ;;
  esac
done

# An apt of its own: arm64 only, nothing installed, signatures checked with Debian's keys.
apt_arm64() {
  apt-get -qq -o APT::Architecture=arm64 -o APT::Architectures=arm64 -o APT::Install-Recommends=false \
    -o APT::Sandbox::User="$(id -un)" -o Dir::State="$tree/apt" -o Dir::State::status="$tree/apt/status" \
    -o Dir::Cache="$tree/apt" -o Dir::Etc::sourcelist="$tree/apt/sources.list" -o Dir::Etc::sourceparts=- "$@"
}

if [ "$(cat "$sysroot/complete" 2>/dev/null)" != "$libraries" ]; then
  rm -rf "$sysroot" "$tree/apt"
  mkdir -p "$tree/apt/lists/partial" "$tree/apt/archives/partial" "$sysroot/usr/lib"
  ln -s usr/lib "$sysroot/lib"
  : >"$tree/apt/status"
  mirror=${DEBIAN_MIRROR:-http://deb.debian.org/debian}
  echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror bookworm main" >"$tree/apt/sources.list"
  apt_arm64 update
  # shellcheck disable=SC2086
  apt_arm64 --download-only -y install $libraries
  for package in "$tree"/apt/archives/*.deb; do
    dpkg-deb --fsys-tarfile "$package" | tar -x --keep-directory-symlink -C "$sysroot"
  done
  rm -r "$tree/apt"
  find "$sysroot/usr/lib" -type l -lname '/*' | while read -r link; do # absolute: would lead to the machine's own
    ln -sfn "$sysroot$(readlink "$link")" "$link"
  done
  echo "$libraries" >"$sysroot/complete"
fi

toolchain=core/cmake/aarch64-linux-gnu.cmake
[ ! -f "$tree/CMakeCache.txt" ] || toolchain="" # read once, kept in the cache
build_tree "$tree" ${toolchain:+--toolchain "$toolchain"} -DWATTLE_SYSROOT="$sysroot" -DWATTLE_TESTS=ON -DCMAKE_COMPILE_WARNING_AS_ERROR=ON
[ "${1:-}" != build ] || exit 0
[ "$#" -gt 0 ] || set -- -L emulated -j "$(nproc)"
exec ctest --test-dir "$tree" --output-on-failure --no-tests=error "$@"
