# SPDX-License-Identifier: Apache-2.0
# sendit_stage(NAME SOURCE...): one stage, NAME.so, which links to nothing of sendit's.  The folder
# of a stage also builds alone: cmake -S stages/NAME -B BUILD.
function(sendit_stage name)
  add_library(stage_${name} MODULE ${ARGN})
  set_target_properties(stage_${name} PROPERTIES PREFIX "" OUTPUT_NAME ${name}
    C_VISIBILITY_PRESET hidden CXX_VISIBILITY_PRESET hidden
    LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/plugins.d)
  target_include_directories(stage_${name}
    PRIVATE ${CMAKE_CURRENT_FUNCTION_LIST_DIR}/../core/include)
  if(TARGET sendit_flags)
    target_link_libraries(stage_${name} PRIVATE sendit_flags)
    install(TARGETS stage_${name} LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}/sendit/plugins.d)
  else()
    target_compile_definitions(stage_${name} PRIVATE _GNU_SOURCE)
    target_compile_options(stage_${name} PRIVATE -Wall -Wextra)
  endif()
endfunction()
