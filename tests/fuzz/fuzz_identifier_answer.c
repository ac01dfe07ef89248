/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_identifier_answer.c - what an identifier service answers.  Whatever it is, an answer that is
 * taken has ids that may stand in a file name and are no originals, and days within the bound.
 */
#include "../../stages/restful-anonymizer/restful_answer.c"
#include "../../stages/restful-anonymizer/restful_date.c"
#define number number_of_header /* likewise */
#include "../../stages/common/http_date.c"
#undef number
#define refuse refuse_option /* each file has one of its own */
#include "../../stages/restful-anonymizer/restful_describe.c"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void is_new_id(const char *id)
{
    size_t n = strspn(id, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-");

    if (!n || n > 64 || id[n] || !strcasecmp(id, "111223") || !strcasecmp(id, "A-1"))
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct service service = {.study = "irb",
                                    .entity_source = "Stanford MRN",
                                    .item_source = "DCM Accession #",
                                    .max_jitter = 3650,
                                    .pointers = {[AT_ENTITY_ID] = "/results/0/suid",
                                                 [AT_ITEM_ID] = "/results/0/items/0/suid",
                                                 [AT_JITTER] = "/results/0/jitter",
                                                 [AT_ENTITY_TIME] = "/results/0/jittered_timestamp",
                                                 [AT_ASKED_ENTITY_ID] = "/results/0/id",
                                                 [AT_RESULTS] = "/results",
                                                 [AT_ITEMS] = "/results/0/items"}};
    const struct asked asked = {.entity_id = "111223",
                                .item_id = "A-1",
                                .entity_time = "1961-07-03T00:00:00Z",
                                .entity_day = -3104};
    struct given given = {0};
    struct sendit_why why = {0};
    json_t *answer = json_loadb((const char *)data, size, JSON_REJECT_DUPLICATES, NULL);
    uint32_t seconds;
    char text[64] = "";

    memcpy(text, data, size < sizeof(text) ? size : sizeof(text) - 1);
    if (http_date_pause(text, 0, MAX_RETRY_AFTER, &seconds) && seconds > MAX_RETRY_AFTER)
        abort();
    if (answer && answer_read(&service, &asked, answer, &given, &why) == SENDIT_PASS) {
        is_new_id(given.entity_id);
        is_new_id(given.item_id);
        if (given.jitter < -3650 || given.jitter > 3650 || strlen(given.entity_date) != 8)
            abort();
    } else if (answer && !why.code[0]) {
        abort();
    }
    json_decref(answer);
    return 0;
}
