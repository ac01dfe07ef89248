/* SPDX-License-Identifier: Apache-2.0 */
/* Something exported for each struct of the headers, so that abidiff sees all that they lead to.
 * tests/abi/update holds that none is missing. */
#include <sendit/stage.h>

#define ANCHOR(name)                                                                               \
    extern const struct name *anchor_##name;                                                       \
    const struct name *anchor_##name

ANCHOR(sendit_option);
ANCHOR(sendit_why);
ANCHOR(sendit_item);
ANCHOR(sendit_batch);
ANCHOR(sendit_feed);
ANCHOR(sendit_settle);
ANCHOR(sendit_compare);
ANCHOR(sendit_plugin);
ANCHOR(sendit_host);
ANCHOR(sendit_part);
ANCHOR(sendit_box);
ANCHOR(sendit_var);
ANCHOR(sendit_config);
ANCHOR(sendit_element);
ANCHOR(sendit_dicom);
ANCHOR(sendit_frame);
ANCHOR(sendit_pixels);
ANCHOR(sendit_match);
ANCHOR(sendit_report);
ANCHOR(sendit_deid);
ANCHOR(sendit_ids);
ANCHOR(sendit_originals);
ANCHOR(sendit_file);
ANCHOR(sendit_files);
ANCHOR(sendit_spool);
ANCHOR(sendit_facts);
ANCHOR(sendit_store);
ANCHOR(sendit_secrets);
ANCHOR(sendit_http_request);
ANCHOR(sendit_http_response);
ANCHOR(sendit_http);
ANCHOR(sendit_metrics);

/* The one symbol that goes the other way: a stage exports it. */
sendit_entry_fn sendit_stage;
const struct sendit_plugin *sendit_stage(uint32_t host_abi)
{
    return host_abi ? anchor_sendit_plugin : (const struct sendit_plugin *)0;
}
