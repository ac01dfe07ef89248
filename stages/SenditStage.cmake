# SPDX-License-Identifier: Apache-2.0
# sendit_stage(NAME SOURCE...): one stage, plugins.d/NAME.so, which links to nothing of sendit's.  The
# folder of a stage also builds alone: cmake -S stages/NAME -B BUILD.  The installed CMake package has
# this function, too.  Only the tree itself installs a stage: what lies there counts as shipped.
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
endfunction()
