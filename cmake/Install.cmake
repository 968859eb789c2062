# What `cmake --install` puts where:
#   bin/                     the programs
#   include/zsched/          client.h, types.h, worker.h, task.h; under detail/ the schemas' headers that they include
#   lib/libzsched_*.a        the client library and the worker SDK, with what they are made of
#   lib/cmake/zsched/        find_package(zsched): zsched::client and zsched::worker
#   lib/pkgconfig/zsched.pc  the same for everybody else
include(CMakePackageConfigHelpers)

set(zsched_config_dir ${CMAKE_INSTALL_LIBDIR}/cmake/zsched)
set(zsched_detail_dir ${CMAKE_INSTALL_INCLUDEDIR}/zsched/detail)

install(TARGETS zsched-broker zsched-worker zsched-ctl zsched-gateway zsched-bench RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
install(DIRECTORY client/include/zsched worker/include/zsched DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}
        FILES_MATCHING PATTERN "*.h")
# Public headers say "schemas/ids.h" as all of the source does; in a prefix shared with others that name stays ours.
install(FILES schemas/errors.h schemas/ids.h schemas/limits.h schemas/output_stream.h DESTINATION ${zsched_detail_dir}/schemas)
target_include_directories(zsched_schemas INTERFACE $<INSTALL_INTERFACE:${zsched_detail_dir}>)

# The public headers are C++20, whatever standard their user's project asks for.
target_compile_features(zsched_schemas INTERFACE cxx_std_20)
target_compile_features(zsched_worker_api INTERFACE cxx_std_20)

# In the order in which a linker must see them.
set(zsched_libraries zsched_worker_sdk zsched_worker_core zsched_client zsched_dealer zsched_session zsched_base
                     zsched_schemas)
set_target_properties(zsched_client PROPERTIES EXPORT_NAME client)
set_target_properties(zsched_worker_sdk PROPERTIES EXPORT_NAME worker)
install(TARGETS ${zsched_libraries} zsched_worker_api EXPORT zsched-targets
        ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(EXPORT zsched-targets NAMESPACE zsched:: DESTINATION ${zsched_config_dir})
# The same names for those who add this project as a subdirectory.
add_library(zsched::client ALIAS zsched_client)
add_library(zsched::worker ALIAS zsched_worker_sdk)

configure_package_config_file(cmake/zschedConfig.cmake.in ${CMAKE_BINARY_DIR}/zschedConfig.cmake
                              INSTALL_DESTINATION ${zsched_config_dir})
# Before 1.0 a minor version may break source compatibility.
write_basic_package_version_file(${CMAKE_BINARY_DIR}/zschedConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_BINARY_DIR}/zschedConfig.cmake ${CMAKE_BINARY_DIR}/zschedConfigVersion.cmake
        DESTINATION ${zsched_config_dir})

list(TRANSFORM zsched_libraries PREPEND -l OUTPUT_VARIABLE zsched_pc_libraries)
file(RELATIVE_PATH zsched_pc_prefix /${CMAKE_INSTALL_LIBDIR}/pkgconfig /)
string(REGEX REPLACE "/$" "" zsched_pc_prefix "${zsched_pc_prefix}")
list(JOIN zsched_pc_libraries " " zsched_pc_libraries)
configure_file(cmake/zsched.pc.in ${CMAKE_BINARY_DIR}/zsched.pc @ONLY)
install(FILES ${CMAKE_BINARY_DIR}/zsched.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)

install(FILES README.md CHANGELOG.md LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR})
install(DIRECTORY docs/ DESTINATION ${CMAKE_INSTALL_DOCDIR} FILES_MATCHING PATTERN "*.md")
