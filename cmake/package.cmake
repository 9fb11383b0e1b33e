# What others build against: libfacet with its headers, the plugin headers, the wire's schema; found as the CMake package Facet
# (target Facet::client) or with pkg-config as facet.
include(CMakePackageConfigHelpers)

set_target_properties(facet-client PROPERTIES EXPORT_NAME client)
install(TARGETS facet-client EXPORT FacetTargets LIBRARY)
install(DIRECTORY sdk/include/facet plugins/include/facet DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} FILES_MATCHING PATTERN *.h PATTERN *.hpp)
install(FILES sdk/protocol/facet.capnp DESTINATION ${CMAKE_INSTALL_DATADIR}/facet)
install(FILES LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR})

set(package ${CMAKE_INSTALL_LIBDIR}/cmake/Facet)
install(EXPORT FacetTargets NAMESPACE Facet:: DESTINATION ${package} FILE FacetConfig.cmake)
write_basic_package_version_file(${CMAKE_BINARY_DIR}/FacetConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_BINARY_DIR}/FacetConfigVersion.cmake DESTINATION ${package})

file(RELATIVE_PATH FACET_PREFIX_FROM_PKGCONFIG ${CMAKE_INSTALL_FULL_LIBDIR}/pkgconfig ${CMAKE_INSTALL_PREFIX})
configure_file(cmake/facet.pc.in ${CMAKE_BINARY_DIR}/facet.pc @ONLY)
install(FILES ${CMAKE_BINARY_DIR}/facet.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
