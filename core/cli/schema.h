/* SPDX-License-Identifier: Apache-2.0 */
/*
 * schema.h - a JSON Schema of pipeline.json, for editors.
 *
 * It is made from the tables of options, as help and checks are.  plan_build() judges more (order,
 * labels, consent); what the schema refuses, plan_build() refuses.
 */
#ifndef SENDIT_CLI_SCHEMA_H
#define SENDIT_CLI_SCHEMA_H

#include <jansson.h>
#include <stddef.h>

#include "load/load.h"

/* Of the stages that are loaded and not hidden; NULL without memory. */
json_t *schema_of_pipeline(const struct stage_file *files, size_t n);

#endif
