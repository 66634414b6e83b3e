# The swarm: a library of its parts, the program weir_swarm, and its default run as two ctests, so that two cores are used.
# The folder's *_test.cc (named regressions) are in test_swarm, as everywhere.
if(WEIR_TESTS)
  file(GLOB weir_swarm_sources CONFIGURE_DEPENDS "${CMAKE_CURRENT_SOURCE_DIR}/swarm/*.cc")
  list(FILTER weir_swarm_sources EXCLUDE REGEX "(_test|/swarm_main)\\.cc$")
  add_library(weir_swarm_parts STATIC ${weir_swarm_sources})
  target_link_libraries(weir_swarm_parts PUBLIC weir_test_support weir_server)
  add_executable(weir_swarm "${CMAKE_CURRENT_SOURCE_DIR}/swarm/swarm_main.cc")
  target_link_libraries(weir_swarm PRIVATE weir_swarm_parts)

  set(weir_swarm_seeds 1000)  # each half
  foreach(half IN ITEMS 0 1)
    math(EXPR from "${half} * ${weir_swarm_seeds}")
    add_test(NAME swarm.seeds_${half} COMMAND weir_swarm --seeds ${weir_swarm_seeds} --from ${from})
    weir_label(swarm.seeds_${half} swarm)
  endforeach()
endif()
