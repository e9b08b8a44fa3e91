# Debian's cross compiler for 64-bit ARM. The libraries come from a folder of arm64 packages (tests/aarch64.sh makes
# one), or, without it, from the machine itself as a multiarch one: cmake --toolchain core/cmake/aarch64-linux-gnu.cmake
# -DWATTLE_SYSROOT=DIR. oneDNN 2.6 for ARM is not in Debian, so it is off. qemu-user, where installed, runs the tests.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_C_COMPILER aarch64-linux-gnu-gcc)
set(CMAKE_LIBRARY_ARCHITECTURE aarch64-linux-gnu)

set(WATTLE_SYSROOT "" CACHE PATH "Folder that holds the arm64 libraries and headers")
list(APPEND CMAKE_TRY_COMPILE_PLATFORM_VARIABLES WATTLE_SYSROOT)
set(libraries "${WATTLE_SYSROOT}/usr/lib/aarch64-linux-gnu")
set(ENV{PKG_CONFIG_LIBDIR}
    "${libraries}/pkgconfig:${libraries}/openblas-pthread/pkgconfig:${WATTLE_SYSROOT}/usr/share/pkgconfig")
set(ENV{PKG_CONFIG_SYSROOT_DIR} "${WATTLE_SYSROOT}")
if(WATTLE_SYSROOT)
  set(CMAKE_SYSROOT "${WATTLE_SYSROOT}")
  # What libraries of the folder need in turn; Debian's alternatives put this one beside the others when installed.
  set(CMAKE_EXE_LINKER_FLAGS_INIT "-Wl,-rpath-link,${libraries}/openblas-pthread")
  set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
  set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)
  set(CMAKE_FIND_ROOT_PATH_MODE_PACKAGE ONLY)
endif()
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)

set(WATTLE_ONEDNN OFF CACHE BOOL "Debian has no oneDNN 2.6 for ARM")
find_program(qemu qemu-aarch64)
if(qemu)
  set(CMAKE_CROSSCOMPILING_EMULATOR ${qemu} -L "${WATTLE_SYSROOT}/"
      -E "LD_LIBRARY_PATH=${libraries}:${libraries}/openblas-pthread")
endif()
