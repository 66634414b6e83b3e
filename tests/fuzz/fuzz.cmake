# tests/fuzz/*_fuzz.cc. With WEIR_FUZZ (clang): one libFuzzer program each. With WEIR_TESTS: the same function run over its committed
# corpus, tests/fuzz/corpus/<program>, and over the corpora of the programs that share its prefix; one ctest fuzz.<program>.
# The other files of the folder are shared by all. *_differential_fuzz.cc need Debian's node-llhttp as oracle, and are left out without it.

file(GLOB weir_fuzzers CONFIGURE_DEPENDS "${CMAKE_CURRENT_SOURCE_DIR}/fuzz/*_fuzz.cc")
add_custom_target(fuzzers)  # all of them and no more than they need
if(weir_fuzzers AND (WEIR_FUZZ OR WEIR_TESTS))
  set(weir_fuzz_floor_of_h1 weir_http)  # the floor that a prefix needs; others wait for the whole house

  find_path(WEIR_LLHTTP_INCLUDE llhttp.h PATHS /usr/share/include/llhttp NO_DEFAULT_PATH)
  find_path(WEIR_LLHTTP_SOURCE llhttp.c PATHS /usr/share/llhttp NO_DEFAULT_PATH)
  if(WEIR_LLHTTP_INCLUDE AND WEIR_LLHTTP_SOURCE)
    enable_language(C)
    add_library(weir_llhttp STATIC EXCLUDE_FROM_ALL
      "${WEIR_LLHTTP_SOURCE}/llhttp.c" "${WEIR_LLHTTP_SOURCE}/api.c" "${WEIR_LLHTTP_SOURCE}/http.c")
    target_include_directories(weir_llhttp SYSTEM PUBLIC "${WEIR_LLHTTP_INCLUDE}")
    target_compile_definitions(weir_llhttp PUBLIC LLHTTP_STRICT_MODE=1)
    target_compile_options(weir_llhttp PRIVATE -w -O1)
  endif()

  set(weir_fuzz_support "${CMAKE_CURRENT_SOURCE_DIR}/fuzz/replay_main.cc")
  file(GLOB weir_h1_cases "${CMAKE_CURRENT_SOURCE_DIR}/http/*_cases.cc")
endif()

function(weir_fuzz_program source)
  get_filename_component(name "${source}" NAME_WE)
  string(REGEX REPLACE "_.*" "" prefix "${name}")
  set(libraries weir_server)
  if(weir_fuzz_floor_of_${prefix})
    set(libraries ${weir_fuzz_floor_of_${prefix}})
  endif()
  set(sources "${source}")
  if(name MATCHES "differential")
    if(NOT TARGET weir_llhttp)
      message(STATUS "no node-llhttp: ${name} is left out")
      return()
    endif()
    list(APPEND libraries weir_llhttp)
    list(APPEND sources "${CMAKE_CURRENT_SOURCE_DIR}/fuzz/llhttp_oracle.cc" ${weir_h1_cases})
  endif()
  if(WEIR_FUZZ)
    add_executable(${name} ${sources})
    target_link_libraries(${name} PRIVATE ${libraries})
    target_link_options(${name} PRIVATE -fsanitize=fuzzer)
    add_dependencies(fuzzers ${name})
  endif()
  if(WEIR_TESTS)
    add_executable(${name}_replay ${sources} ${weir_fuzz_support})
    target_link_libraries(${name}_replay PRIVATE ${libraries})
    file(GLOB corpora "${CMAKE_CURRENT_SOURCE_DIR}/fuzz/corpus/${prefix}*")
    add_test(NAME fuzz.${name} COMMAND ${name}_replay ${corpora})
    weir_label(fuzz.${name} fuzz)
  endif()
endfunction()

foreach(source IN LISTS weir_fuzzers)
  weir_fuzz_program("${source}")
endforeach()
