# SPDX-License-Identifier: Apache-2.0
# sendit_google(NAME): what google.h has becomes part of the stage NAME, after sendit_stage(NAME ...).
find_package(PkgConfig REQUIRED)
pkg_check_modules(JANSSON REQUIRED IMPORTED_TARGET jansson)
pkg_check_modules(CRYPTO REQUIRED IMPORTED_TARGET libcrypto)

set(SENDIT_GOOGLE_SOURCES google.c google_credentials.c google_error.c google_jwt.c google_request.c
  google_token.c ../common/http_date.c)
list(TRANSFORM SENDIT_GOOGLE_SOURCES PREPEND ${CMAKE_CURRENT_LIST_DIR}/)

function(sendit_google name)
  target_sources(stage_${name} PRIVATE ${SENDIT_GOOGLE_SOURCES})
  target_include_directories(stage_${name} PRIVATE ${CMAKE_CURRENT_FUNCTION_LIST_DIR}
    ${CMAKE_CURRENT_FUNCTION_LIST_DIR}/../common)
  target_link_libraries(stage_${name} PRIVATE PkgConfig::JANSSON PkgConfig::CRYPTO)
endfunction()
