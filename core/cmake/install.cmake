# What `cmake --install` puts where, and the .deb. Everything is found from where it lies, so that an installed tree may
# be moved. Program and module carry the core in them; the shared libraries are for C programs.
include(GNUInstallDirs) # with the prefix /usr, Debian's lib/ARCHITECTURE
include(CMakePackageConfigHelpers)

get_target_property(core_libraries libwattle LINK_LIBRARIES)
add_library(shared SHARED ${objects})
set_target_properties(shared PROPERTIES OUTPUT_NAME wattle EXPORT_NAME core)
target_link_libraries(shared PRIVATE ${core_libraries})
target_include_directories(shared INTERFACE $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
add_library(host SHARED $<TARGET_OBJECTS:part_bindings>)
set_target_properties(host PROPERTIES OUTPUT_NAME wattle_host EXPORT_NAME host)
target_link_libraries(host PUBLIC shared PRIVATE PkgConfig::LUA PkgConfig::JANSSON m ${CMAKE_DL_LIBS})
set_target_properties(shared host PROPERTIES VERSION ${PROJECT_VERSION} SOVERSION ${PROJECT_VERSION_MAJOR}.${PROJECT_VERSION_MINOR}
                      LINK_OPTIONS "-Wl,--as-needed")
if(NOT WATTLE_SANITIZE) # a sanitizer's run time is in the program
  set_property(TARGET shared host APPEND PROPERTY LINK_OPTIONS "-Wl,--no-undefined")
endif()
if(NOT CMAKE_INSTALL_PREFIX MATCHES "^/usr/?$") # where the system's linker looks by itself
  set_target_properties(host PROPERTIES INSTALL_RPATH "$ORIGIN")
endif()

set(share ${CMAKE_INSTALL_DATADIR}/wattle)
set(packages ${CMAKE_INSTALL_LIBDIR}/cmake/wattle)
install(TARGETS wattle RUNTIME)
install(TARGETS module LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}/lua/5.4)
install(TARGETS shared host EXPORT wattle-targets LIBRARY)
install(FILES core/include/wattle.h bindings/include/wattle_host.h TYPE INCLUDE)
install(DIRECTORY bindings/lua scripts models DESTINATION ${share} FILES_MATCHING PATTERN "*.lua")
install(DIRECTORY examples DESTINATION ${share} FILES_MATCHING PATTERN "*.lua")
install(FILES README.md TYPE DOC)
install(FILES LICENSE TYPE DOC RENAME copyright)

file(RELATIVE_PATH WATTLE_UP ${CMAKE_INSTALL_FULL_LIBDIR}/pkgconfig ${CMAKE_INSTALL_PREFIX})
string(REGEX REPLACE "/$" "" WATTLE_UP "${WATTLE_UP}")
foreach(name wattle wattle-host)
  configure_file(core/cmake/${name}.pc.in ${name}.pc @ONLY)
  install(FILES ${CMAKE_BINARY_DIR}/${name}.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
endforeach()
install(EXPORT wattle-targets NAMESPACE wattle:: DESTINATION ${packages})
configure_package_config_file(core/cmake/wattle-config.cmake.in wattle-config.cmake INSTALL_DESTINATION ${packages})
write_basic_package_version_file(wattle-config-version.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_BINARY_DIR}/wattle-config.cmake ${CMAKE_BINARY_DIR}/wattle-config-version.cmake DESTINATION ${packages})

# gzipped LINE: a text in the form that Debian's policy wants; -n, so that it has no time in it.
function(gzipped from to)
  configure_file(${from} ${to} @ONLY)
  execute_process(COMMAND gzip -9fn ${CMAKE_BINARY_DIR}/${to} COMMAND_ERROR_IS_FATAL ANY)
endfunction()
gzipped(core/cmake/wattle.1.in wattle.1)
install(FILES ${CMAKE_BINARY_DIR}/wattle.1.gz DESTINATION ${CMAKE_INSTALL_MANDIR}/man1)
execute_process(COMMAND git -c safe.directory=* -C ${CMAKE_SOURCE_DIR} log -1 --format=%cD
                OUTPUT_VARIABLE WATTLE_DATE OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
if(NOT WATTLE_DATE)
  string(TIMESTAMP WATTLE_DATE "%a, %d %b %Y %H:%M:%S +0000" UTC)
endif()
gzipped(core/cmake/changelog.in changelog)
install(FILES ${CMAKE_BINARY_DIR}/changelog.gz TYPE DOC)

# The Debian package: configure with -DCMAKE_INSTALL_PREFIX=/usr, build, then cpack in the build folder.
set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME wattle)
set(CPACK_PACKAGE_CONTACT "Wattle developers <wattle@wattle.invalid>")
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_STRIP_FILES ON)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SECTION science)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS_PRIVATE_DIRS ${CMAKE_BINARY_DIR})
set(CPACK_DEBIAN_PACKAGE_GENERATE_SHLIBS ON)
set(CPACK_DEBIAN_PACKAGE_GENERATE_SHLIBS_POLICY ">=")
file(WRITE ${CMAKE_BINARY_DIR}/triggers "activate-noawait ldconfig\n")
set(CPACK_DEBIAN_PACKAGE_CONTROL_EXTRA ${CMAKE_BINARY_DIR}/triggers)
set(CPACK_DEBIAN_PACKAGE_RECOMMENDS "dataset-fashion-mnist, gnuplot-nox")
set(CPACK_DEBIAN_PACKAGE_SUGGESTS "lua5.4, liblua5.4-dev")
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION ON)
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "Lua host for neural-network experiments metered for energy")
set(CPACK_PACKAGE_DESCRIPTION "A C core does tensors, training, compression and energy metering;
architectures, protocols and analyses are Lua scripts; results are CSV. One
script gives one tidy table: model, technique, level and seed, with accuracy
and joules. The command wattle mei2025 reruns a published protocol on what
compressing a pretrained network saves when it is trained.
.
With the program come the Lua module for the stock interpreter, the shared
libraries and their headers.")
include(CPack)
