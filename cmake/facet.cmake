# The few rules that every folder's CMakeLists.txt uses.

add_library(facet-flags INTERFACE)
target_compile_options(facet-flags INTERFACE -Wall -Wextra -Werror)
# A product and a sum round twice everywhere unless the code says fma: results must not depend on the compiler's taste.
target_compile_options(facet-flags INTERFACE -ffp-contract=off)
target_include_directories(facet-flags INTERFACE ${PROJECT_SOURCE_DIR} ${PROJECT_SOURCE_DIR}/plugins/include)
if(FACET_SANITIZE)
  target_compile_options(facet-flags INTERFACE -fsanitize=${FACET_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all)
  target_link_options(facet-flags INTERFACE -fsanitize=${FACET_SANITIZE})
  if(FACET_SANITIZE MATCHES thread)
    target_compile_options(facet-flags INTERFACE -Wno-tsan)
  endif()
endif()
if(CMAKE_CXX_COMPILER_ID STREQUAL "Clang")
  # Asio 1.22 does not know that clang 14 has coroutines.
  target_compile_definitions(facet-flags INTERFACE ASIO_HAS_CO_AWAIT ASIO_HAS_STD_COROUTINE)
endif()

# facet_library(NAME SOURCES file... [PUBLIC target...] [PRIVATE target...])
# A static library of one folder. PUBLIC: libraries whose headers its headers include; PRIVATE: only its sources do.
function(facet_library name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "" "SOURCES;PUBLIC;PRIVATE")
  add_library(${name} STATIC ${arg_SOURCES})
  target_link_libraries(${name} PUBLIC facet-flags ${arg_PUBLIC} PRIVATE ${arg_PRIVATE})
endfunction()

# facet_program(NAME SOURCES file... PRIVATE target...): an executable in <build>/bin.
function(facet_program name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "" "SOURCES;PRIVATE")
  add_executable(${name} ${arg_SOURCES})
  target_link_libraries(${name} PRIVATE facet-flags ${arg_PRIVATE})
endfunction()

# facet_backend(NAME SOURCES file... [PRIVATE target...])
# A plugin facet-backend-NAME.so in <build>/lib/facet/backends that exports facet_backend_entry and nothing else.
function(facet_backend name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "" "SOURCES;PRIVATE")
  set(target facet-backend-${name})
  add_library(${target} MODULE ${arg_SOURCES})
  target_link_libraries(${target} PRIVATE facet-flags ${arg_PRIVATE})
  set(script ${PROJECT_SOURCE_DIR}/cmake/backend.map)
  target_link_options(${target} PRIVATE -Wl,--version-script=${script})
  set_target_properties(${target} PROPERTIES PREFIX "" CXX_VISIBILITY_PRESET hidden C_VISIBILITY_PRESET hidden
    VISIBILITY_INLINES_HIDDEN ON LINK_DEPENDS ${script}
    LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/lib/facet/backends)
  install(TARGETS ${target} LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}/facet/backends)
endfunction()

# facet_test(NAME SOURCES file... [PRIVATE target...] [LABELS label...] [ARGS arg...])
# A doctest program. Labels: fast (the default) runs in scripts/test; slow only in .ci/run.
function(facet_test name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "" "SOURCES;PRIVATE;LABELS;ARGS")
  add_executable(${name} ${arg_SOURCES})
  target_link_libraries(${name} PRIVATE facet-flags facet-doctest ${arg_PRIVATE})
  add_test(NAME ${name} COMMAND ${name} ${arg_ARGS} WORKING_DIRECTORY ${PROJECT_SOURCE_DIR})
  if(NOT arg_LABELS)
    set(arg_LABELS fast)
  endif()
  set_tests_properties(${name} PROPERTIES LABELS "${arg_LABELS}" TIMEOUT 300)
endfunction()

# facet_fuzz(NAME SOURCES file... [PRIVATE target...]): a libFuzzer program; only with FACET_FUZZ.
function(facet_fuzz name)
  if(NOT FACET_FUZZ)
    return()
  endif()
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "" "SOURCES;PRIVATE")
  add_executable(${name} ${arg_SOURCES})
  target_compile_options(${name} PRIVATE -fsanitize=fuzzer)
  target_link_options(${name} PRIVATE -fsanitize=fuzzer)
  target_link_libraries(${name} PRIVATE facet-flags ${arg_PRIVATE})
endfunction()
