#!/bin/sh
# What `cmake --install` leaves: installs the build folder $WATTLE_BUILD into a temporary one, uses every part of it from
# another folder, moves it, and uses it again. Here and in the moved tree no path may lead back to the build.
set -eu
build=${WATTLE_BUILD:?the build folder}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
unset WATTLE_HOME LUA_PATH LUA_PATH_5_4 LUA_CPATH LUA_CPATH_5_4 LUA_INIT LUA_INIT_5_4

fail() {
  echo "install: $*" >&2
  exit 1
}
# only WHAT PATTERN [FILE...]: exactly one file is there, and its folder is printed.
folder_of() {
  found=$(find "$1" -path "$2")
  [ -e "$found" ] || fail "$2 was not installed once: $found"
  dirname "$found"
}

DESTDIR=$work/staged cmake --install "$build" --prefix /opt/somewhere >"$work/log"
cmake --install "$build" --prefix "$work/a" >"$work/log"
(cd "$work/a" && find . | sort) >"$work/one"
(cd "$work/staged/opt/somewhere" && find . | sort) >"$work/two"
cmp "$work/one" "$work/two" || fail "DESTDIR and --prefix install different files"
[ "$(find "$work/staged" -mindepth 1 -maxdepth 3 | wc -l)" -gt 2 ] || fail "DESTDIR was not respected"
if grep -rlF "$build" "$work/a"; then fail "names the build folder"; fi
mkdir "$work/elsewhere"
cd "$work/elsewhere"

cat >program.c <<'END'
#include <stdio.h>
#include <wattle.h>
int main(void) {
  wtl_ctx *ctx;
  if (wtl_ctx_create(1, &ctx) != WTL_OK) return 1;
  printf("%s, %d thread", WTL_VERSION, wtl_threads(ctx));
  wtl_ctx_destroy(ctx);
  return 0;
}
END
cat >host.c <<'END'
#include <stdio.h>
#include <wattle_host.h>
int main(void) {
  wattle_host *h = wattle_host_create(0);
  int bad = wattle_host_run_string(h, "io.write((require 'wattle'.ones{3} + 1):sum():item())", "=host");
  if (bad) fprintf(stderr, "%s\n", wattle_host_message(h));
  wattle_host_destroy(h);
  return bad;
}
END
cat >CMakeLists.txt <<'END'
cmake_minimum_required(VERSION 3.25)
project(uses LANGUAGES C)
find_package(wattle 0.1 REQUIRED COMPONENTS core host)
add_executable(program program.c)
target_link_libraries(program wattle::core)
add_executable(host host.c)
target_link_libraries(host wattle::host)
END

# same WANT COMMAND...: what it prints.
same() {
  want=$1
  shift
  got=$("$@") || fail "$* failed"
  [ "$got" = "$want" ] || fail "$* printed '$got', not '$want'"
}

# use PREFIX: all of it.
use() {
  module=$(folder_of "$1" "*/lua/5.4/wattle.so")
  libraries=$(folder_of "$1" "*/libwattle.so")
  version=$("$1/bin/wattle" --version | sed 's/^Wattle \([^ ]*\) .*/\1/')
  sum='local w = require "wattle" io.write((w.ones{3} + 1):sum():item(), " ", w.home)'
  same "6 $1/share/wattle" "$1/bin/wattle" -e "$sum"
  same "6 $1/share/wattle" env LUA_CPATH="$module/?.so" lua5.4 -e "$sum"
  same "resnet8" "$1/bin/wattle" -e 'io.write((require "wattle".models.create("resnet8", {width = 4}) and "resnet8"))'
  "$1/bin/wattle" mei2025 --help >/dev/null
  folder_of "$1" "*/share/wattle/examples/custom_architecture.lua" >/dev/null

  export PKG_CONFIG_PATH="$libraries/pkgconfig"
  # shellcheck disable=SC2046 # flags are meant to split
  cc program.c -o by-pkg-config $(pkg-config --cflags --libs wattle)
  case $(pkg-config --libs --static wattle) in *lua*) fail "wattle.pc asks for Lua" ;; esac
  same "$version, 1 thread" env LD_LIBRARY_PATH="$libraries" ./by-pkg-config
  # shellcheck disable=SC2046
  cc host.c -o host-by-pkg-config $(pkg-config --cflags --libs wattle-host)
  same "6" env LD_LIBRARY_PATH="$libraries" ./host-by-pkg-config
  rm -rf by-cmake
  if ! { cmake -G Ninja -S . -B by-cmake -DCMAKE_PREFIX_PATH="$1" && cmake --build by-cmake; } >"$work/log"; then
    cat "$work/log"
    fail "find_package(wattle)"
  fi
  same "$version, 1 thread" by-cmake/program
  same "6" by-cmake/host
}

use "$work/a"
mkdir "$work/b"
mv "$work/a" "$work/b/moved"
use "$work/b/moved"
echo "installed, used, moved and used again"
