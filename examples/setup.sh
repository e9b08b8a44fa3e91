# shellcheck shell=sh disable=SC2034 # the lists are used where this is sourced
# Sourced by examples/quickstart.sh and tests/run.sh: the one list of Debian packages, their
# installation where some are missing, and the build. Expects the current folder to be the
# repository's root and `set -eu`.

# What building and running needs.
build_packages="gcc libc6-dev cmake ninja-build pkg-config git lua5.4 liblua5.4-dev libedit-dev libopenblas-dev
  libdnnl-dev libjansson-dev libpowercap-dev libcsv-dev zlib1g-dev libjpeg62-turbo-dev libpng-dev dataset-fashion-mnist
  gnuplot-nox"
# What the tests need besides: clang builds the sanitized tree and the fuzz targets.
test_packages="libcmocka-dev clang libclang-rt-dev expect"
# What tests/aarch64.sh needs besides; it fetches the arm64 forms of the libraries above by itself.
cross_packages="gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user libcmocka-dev"

# need_packages NAME...: install those that are missing. apt is not touched when none is.
need_packages() {
  if ! command -v dpkg-query >/dev/null 2>&1; then
    echo "Not a Debian system: these packages, or what your system calls them, must be there: $*" >&2
    return 0
  fi
  missing=""
  for package in "$@"; do
    # shellcheck disable=SC2016 # ${Status} is dpkg-query's, not the shell's
    dpkg-query -W -f '${Status}\n' "$package" 2>/dev/null | grep -q '^install ok installed' ||
      missing="$missing $package"
  done
  [ -n "$missing" ] || return 0
  echo "Installing:$missing"
  as_root=""
  if [ "$(id -u)" -ne 0 ]; then
    if ! command -v sudo >/dev/null 2>&1; then
      echo "Run as root, or install first: apt-get install --no-install-recommends$missing" >&2
      return 1
    fi
    as_root="sudo"
  fi
  $as_root apt-get update
  # shellcheck disable=SC2086 # the lists are meant to split
  $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $missing
}

# build_tree DIR [CMAKE OPTION...]: configure (Release, Ninja) and build.
build_tree() {
  tree=$1
  shift
  [ -f "$tree/CMakeCache.txt" ] || set -- -G Ninja "$@"
  cmake -S . -B "$tree" -DCMAKE_BUILD_TYPE=Release "$@"
  cmake --build "$tree" --parallel "$(nproc)"
}
