# SPDX-License-Identifier: Apache-2.0
# sendit_stage(NAME SOURCE...): one stage, plugins.d/NAME.so, which links to nothing of sendit's.  The
# folder of a stage also builds alone: cmake -S stages/NAME -B BUILD.  The installed CMake package has
# this function, too.  Only the tree itself installs a stage: what lies there counts as shipped.
#
# Its folder cases/, if there is one, is the test NAME: `ctest -R NAME` builds and tries it.  sendit is
# the one that is built here, or SENDIT_PROGRAM; below the sources of sendit, where neither is found,
# the test builds it.
enable_testing()

# The program that tries the cases; `ret_fixture` is a test that has to come before.
function(sendit_find_program ret_program ret_fixture)
  set(tree ${CMAKE_CURRENT_FUNCTION_LIST_DIR}/..)
  find_program(SENDIT_PROGRAM sendit HINTS ${tree}/build ${tree}/../../bin)
  set(fixture)
  set(program ${SENDIT_PROGRAM})
  if(NOT program AND EXISTS ${tree}/core/cli/main.c)
    set(fixture build-sendit)
    set(program ${CMAKE_BINARY_DIR}/sendit/sendit)
    if(NOT TEST build-sendit)
      add_test(NAME build-sendit COMMAND ${CMAKE_CTEST_COMMAND}
        --build-and-test ${tree} ${CMAKE_BINARY_DIR}/sendit
        --build-generator ${CMAKE_GENERATOR} --build-options -DSENDIT_TESTS=OFF)
      set_tests_properties(build-sendit PROPERTIES FIXTURES_SETUP build-sendit)
    endif()
  endif()
  set(${ret_program} ${program} PARENT_SCOPE)
  set(${ret_fixture} ${fixture} PARENT_SCOPE)
endfunction()

function(sendit_stage_cases name)
  if(TARGET sendit)
    set(program $<TARGET_FILE:sendit>)
    set(fixture build-${name})
    add_test(NAME build-${name}
      COMMAND ${CMAKE_COMMAND} --build ${CMAKE_BINARY_DIR} --target sendit stage_${name})
    set_tests_properties(build-${name} PROPERTIES FIXTURES_SETUP build-${name} RESOURCE_LOCK build)
  else()
    sendit_find_program(program fixture)
  endif()
  if(program)
    add_test(NAME ${name} COMMAND ${program} test-stage $<TARGET_FILE:stage_${name}>
      ${CMAKE_CURRENT_SOURCE_DIR}/cases)
  else()
    add_test(NAME ${name} COMMAND ${CMAKE_COMMAND} -E echo
      "skipped: there is no sendit that could try the cases; name it by -DSENDIT_PROGRAM=FILE")
    set_tests_properties(${name} PROPERTIES SKIP_REGULAR_EXPRESSION "skipped: ")
  endif()
  if(fixture)
    set_tests_properties(${name} PROPERTIES FIXTURES_REQUIRED ${fixture})
  endif()
endfunction()

function(sendit_stage name)
  add_library(stage_${name} MODULE ${ARGN})
  set_target_properties(stage_${name} PROPERTIES PREFIX "" OUTPUT_NAME ${name}
    C_VISIBILITY_PRESET hidden CXX_VISIBILITY_PRESET hidden
    LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/plugins.d)
  # one exported symbol, also where headers of C++ would export their templates
  set(script ${CMAKE_CURRENT_BINARY_DIR}/stage_${name}.map)
  file(WRITE ${script} "{ global: sendit_stage; local: *; };\n")
  target_link_options(stage_${name} PRIVATE "LINKER:--version-script=${script}")
  if(TARGET sendit::headers)
    target_link_libraries(stage_${name} PRIVATE sendit::headers)
  else()
    target_include_directories(stage_${name}
      PRIVATE ${CMAKE_CURRENT_FUNCTION_LIST_DIR}/../core/include)
  endif()
  if(TARGET sendit_flags)
    target_link_libraries(stage_${name} PRIVATE sendit_flags)
    install(TARGETS stage_${name} LIBRARY DESTINATION ${SENDIT_PLUGINS_DIR})
  else()
    target_compile_definitions(stage_${name} PRIVATE _GNU_SOURCE)
    target_compile_options(stage_${name} PRIVATE -Wall -Wextra)
  endif()
  if(IS_DIRECTORY ${CMAKE_CURRENT_SOURCE_DIR}/cases)
    sendit_stage_cases(${name})
  endif()
endfunction()
