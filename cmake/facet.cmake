# The few rules that every folder's CMakeLists.txt uses.

add_library(facet-flags INTERFACE)
target_compile_options(facet-flags INTERFACE -Wall -Wextra -Werror)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  # g++ 12 sees an overlap in "text" + std::string where there is none (GCC bug 105651).
  target_compile_options(facet-flags INTERFACE $<$<COMPILE_LANGUAGE:CXX>:-Wno-restrict>)
endif()
# A product and a sum round twice everywhere unless the code says fma: results must not depend on the compiler's taste.
target_compile_options(facet-flags INTERFACE -ffp-contract=off)
target_include_directories(facet-flags INTERFACE ${PROJECT_SOURCE_DIR} ${PROJECT_SOURCE_DIR}/plugins/include)
if(FACET_SANITIZE)
  target_compile_options(facet-flags INTERFACE -fsanitize=${FACET_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all)
  target_link_options(facet-flags INTERFACE -fsanitize=${FACET_SANITIZE})
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    # The sanitizers' own code confuses this warning; the release build has it on.
    target_compile_options(facet-flags INTERFACE -Wno-maybe-uninitialized)
  endif()
  if(FACET_SANITIZE MATCHES thread)
    target_compile_options(facet-flags INTERFACE -Wno-tsan)
  endif()
endif()
if(CMAKE_CXX_COMPILER_ID STREQUAL "Clang")
  # Asio 1.22 does not know that clang 14 has coroutines.
  target_compile_definitions(facet-flags INTERFACE ASIO_HAS_CO_AWAIT ASIO_HAS_STD_COROUTINE)
endif()

# What a user runs, without the tests.
add_custom_target(programs)

# facet_library(NAME SOURCES file... [PUBLIC target...] [PRIVATE target...])
# A static library of one folder. PUBLIC: libraries whose headers its headers include; PRIVATE: only its sources do.
function(facet_library name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "" "SOURCES;PUBLIC;PRIVATE")
  add_library(${name} STATIC ${arg_SOURCES})
  target_link_libraries(${name} PUBLIC facet-flags ${arg_PUBLIC} PRIVATE ${arg_PRIVATE})
endfunction()

# facet_program(NAME SOURCES file... PRIVATE target...): an executable in <build>/bin, installed.
function(facet_program name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "" "SOURCES;PRIVATE")
  add_executable(${name} ${arg_SOURCES})
  target_link_libraries(${name} PRIVATE facet-flags ${arg_PRIVATE})
  install(TARGETS ${name} RUNTIME)
  add_dependencies(programs ${name})
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
  add_dependencies(programs ${target})
endfunction()

# What a test finds in its environment, unless the environment of cmake had it: the folder of the tiny models and that of the real one.
set(FACET_TEST_MODELS ${PROJECT_SOURCE_DIR}/build/models)
if(DEFINED ENV{FACET_TEST_MODELS})
  set(FACET_TEST_MODELS $ENV{FACET_TEST_MODELS})
endif()
set(FACET_TEST_MODEL_DIR $ENV{HOME}/.cache/facet/models)
if(DEFINED ENV{FACET_TEST_MODEL_DIR})
  set(FACET_TEST_MODEL_DIR $ENV{FACET_TEST_MODEL_DIR})
elseif(DEFINED ENV{FACET_CACHE})
  set(FACET_TEST_MODEL_DIR $ENV{FACET_CACHE}/models)
endif()

# Seconds until a test counts as hung; sanitizers make some ten to twenty times slower, and so does an emulator.
set(FACET_TEST_TIMEOUT 300)
if(FACET_SANITIZE OR CMAKE_CROSSCOMPILING)
  set(FACET_TEST_TIMEOUT 2400)
endif()

# facet_add_test(NAME LABELS label... COMMAND command...): what every test gets: labels, a time limit, the models' folders.
function(facet_add_test name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "" "LABELS;COMMAND")
  add_test(NAME ${name} COMMAND ${arg_COMMAND} WORKING_DIRECTORY ${PROJECT_SOURCE_DIR})
  set_tests_properties(${name} PROPERTIES LABELS "${arg_LABELS}" TIMEOUT ${FACET_TEST_TIMEOUT} ENVIRONMENT
    "FACET_TEST_MODELS=${FACET_TEST_MODELS};FACET_TEST_MODEL_DIR=${FACET_TEST_MODEL_DIR};XDG_CACHE_HOME=${PROJECT_BINARY_DIR}/cache")
  if(FACET_SANITIZE MATCHES thread)
    # A race in a daemon that the test started must end it, or the test would not see it.
    set_property(TEST ${name} APPEND PROPERTY ENVIRONMENT TSAN_OPTIONS=halt_on_error=1)
  elseif(FACET_SANITIZE MATCHES address)
    # Up to GCC 13 and LLVM 16 the leak check takes a thread's memory of a loaded plugin for one with glibc's header of before 2.25 if its
    # address is like that by chance, and then crashes at the exit of the process.
    set_property(TEST ${name} APPEND PROPERTY ENVIRONMENT ASAN_OPTIONS=intercept_tls_get_addr=0)
  endif()
endfunction()

# The tests with the label threads.
add_custom_target(threads)

# facet_test(NAME [MODELS] [THREADS] SOURCES file... [PRIVATE target...] [LABELS label...] [ARGS arg...])
# A doctest program. MODELS: it reads the tiny or the real model, which ctest then gets first. THREADS: it or what it starts uses threads, so it
# runs under ThreadSanitizer too (label threads). Labels: fast (the default) runs in scripts/test; slow only in .ci/run.
function(facet_test name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "MODELS;THREADS" "" "SOURCES;PRIVATE;LABELS;ARGS")
  add_executable(${name} ${arg_SOURCES})
  target_link_libraries(${name} PRIVATE facet-flags facet-doctest ${arg_PRIVATE})
  if(NOT arg_LABELS)
    set(arg_LABELS fast)
  endif()
  if(arg_THREADS)
    list(APPEND arg_LABELS threads)
    add_dependencies(threads ${name})
  endif()
  facet_add_test(${name} LABELS ${arg_LABELS} COMMAND ${name} ${arg_ARGS})
  if(arg_MODELS)
    set_tests_properties(${name} PROPERTIES FIXTURES_REQUIRED models)
  endif()
endfunction()

# facet_fuzz(NAME SOURCES file... [PRIVATE target...]): a libFuzzer program in <build>/bin/fuzz; only with FACET_FUZZ. The code it
# reaches is instrumented by FACET_SANITIZE=fuzzer-no-link,... (the preset fuzz). Target fuzz builds them all.
if(FACET_FUZZ)
  add_custom_target(fuzz)
endif()
function(facet_fuzz name)
  if(NOT FACET_FUZZ)
    return()
  endif()
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "" "SOURCES;PRIVATE")
  add_executable(${name} ${arg_SOURCES})
  target_link_options(${name} PRIVATE -fsanitize=fuzzer)
  target_link_libraries(${name} PRIVATE facet-flags ${arg_PRIVATE})
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin/fuzz)
  add_dependencies(fuzz ${name})
endfunction()
