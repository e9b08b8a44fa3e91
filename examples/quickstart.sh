#!/bin/sh
# From a fresh Debian 12 to the main job's table: installs what is missing, builds into build/
# and runs a small version of the protocol (a few minutes on two cores). Arguments go to
# `wattle mei2025`, for example --seeds 5.
set -eu
cd "$(dirname "$0")/.."
. examples/setup.sh

# shellcheck disable=SC2086 # the list is meant to split
need_packages $build_packages
build_tree build -DWATTLE_TESTS=OFF
exec build/wattle mei2025 --quick --out "out/quickstart-$(date +%Y%m%d-%H%M%S)" "$@"
