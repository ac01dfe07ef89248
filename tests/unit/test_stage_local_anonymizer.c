/* SPDX-License-Identifier: Apache-2.0 */
#define SENDIT_ENTRY local_anonymizer_entry
#include "../../stages/common/anonymizer.c"
#include "../../stages/local-anonymizer/local_anonymizer.c"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include "fake_host.h"

#define TAG_PATIENT 0x00100020u

#define SHOW(...) show((const struct fake_attribute[]){__VA_ARGS__, {0, NULL}})
#define IMAGE                                                                                      \
    {TAG_SERIES, "1.2.3"},                                                                         \
    {                                                                                              \
        TAG_SOP_INSTANCE, "1.2.3.4"                                                                \
    }

static struct sendit_why why;
static struct sendit_stage_state *self;
static char seen_patient[256], seen_vars[256], item_id[8];
static sendit_result apply_result, compile_result;
static const char *variables[2]; /* that recipes ask for */
static const struct sendit_batch batch = {.id = "b", .once_key = "k"};

static sendit_result fake_patient(struct sendit_dataset *ds, const char **ret_patient)
{
    sendit_result r = fake_get(ds, TAG_PATIENT, ret_patient);

    return r == SENDIT_OK && !**ret_patient ? SENDIT_EABSENT : r;
}

/* Told apart by length alone, which is enough here. */
static sendit_result fake_pseudonym(const struct sendit_host *host, const char *domain,
                                    const char *original, const char **ret_pseudonym)
{
    static char made[2][32];
    static int turn;

    (void)host;
    turn = !turn;
    if (!strcmp(domain, "patient"))
        snprintf(seen_patient, sizeof(seen_patient), "%s", original);
    snprintf(made[turn], sizeof(made[turn]), "%.1s%zu", domain, strlen(original));
    *ret_pseudonym = made[turn];
    return SENDIT_OK;
}

static sendit_result fake_days(const struct sendit_host *host, const char *patient,
                               int32_t *ret_days)
{
    (void)host, (void)patient;
    *ret_days = -42;
    return SENDIT_OK;
}

static sendit_result fake_compile(const struct sendit_host *host, const char *const *profiles,
                                  const char *const *recipes,
                                  const struct sendit_deid_plan **ret_plan, struct sendit_why *w)
{
    (void)host, (void)profiles, (void)recipes, (void)w;
    *ret_plan = NULL;
    return compile_result;
}

static const char *fake_digest(const struct sendit_deid_plan *plan)
{
    (void)plan;
    return "d1";
}

static sendit_result fake_apply(const struct sendit_deid_plan *plan, struct sendit_dataset *ds,
                                const struct sendit_var *vars, size_t n_vars,
                                const struct sendit_report **ret_report, struct sendit_why *w)
{
    static const struct sendit_report report = {.removed = 3, .lost_dates = 1};

    (void)plan, (void)ds, (void)w;
    seen_vars[0] = '\0';
    for (size_t i = 0; i < n_vars; i++)
        snprintf(seen_vars + strlen(seen_vars), sizeof(seen_vars) - strlen(seen_vars), "%s=%s ",
                 vars[i].name, vars[i].value);
    *ret_report = &report;
    return apply_result;
}

static const struct sendit_ids ids_table = {
    .patient = fake_patient, .pseudonym = fake_pseudonym, .days = fake_days};
static const char *fake_variable(const struct sendit_deid_plan *plan, size_t index)
{
    (void)plan;
    return index < 2 ? variables[index] : NULL;
}

static const struct sendit_deid deid_table = {
    .compile = fake_compile, .digest = fake_digest, .apply = fake_apply, .variable = fake_variable};

static sendit_verdict show(const struct fake_attribute *attributes)
{
    struct sendit_dataset ds = {.attributes = attributes};
    const struct sendit_item item = {.id = item_id, .ds = &ds};

    memset(&why, 0, sizeof(why));
    item_id[0]++;
    return process(self, &item, &why);
}

#define assert_held(code_, ...)                                                                    \
    do {                                                                                           \
        assert_int_equal(SHOW(__VA_ARGS__), SENDIT_QUARANTINE);                                    \
        assert_string_equal(why.code, code_);                                                      \
    } while (0)

static int set_up(void **state)
{
    static const char *const profile[] = {"basic", NULL};

    (void)state;
    fake_reset();
    fake_ids = &ids_table;
    fake_deid = &deid_table;
    fake_option("profile")->list = profile;
    variables[0] = variables[1] = NULL;
    apply_result = compile_result = SENDIT_OK;
    strcpy(item_id, "a");
    assert_int_equal(start(&fake_host, &self, &why), SENDIT_PASS);
    assert_int_equal(begin(self, &batch, &why), SENDIT_PASS);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    stop(self);
    return 0;
}

static void test_identity(void **state)
{
    const char *value;

    (void)state;
    assert_int_equal(SHOW({TAG_PATIENT, "P"}, {ANONYMIZER_TAG_STUDY, "1.2"}, IMAGE), SENDIT_PASS);
    assert_string_equal(seen_vars, "entity_id=p1 item_id=s3 jitter=-42 ");
    assert_int_equal(fake_fact_get(NULL, item_id, "ids.entity", &value), SENDIT_OK);
    assert_string_equal(value, "p1");
    assert_int_equal(fake_fact_get(NULL, item_id, "ids.item", &value), SENDIT_OK);
    assert_string_equal(value, "s3");
    assert_int_equal(fake_fact_get(NULL, NULL, "deid.profile", &value), SENDIT_OK);
    assert_int_equal(finish(self, &batch, &why), SENDIT_PASS);
    assert_int_equal(fake_n_metrics, 2); /* of those that are not 0 */
    assert_string_equal(fake_last_metric, "lost_dates");
}

static void test_what_is_missing(void **state)
{
    (void)state;
    assert_held("ids.no_patient", {ANONYMIZER_TAG_STUDY, "1.2"}, IMAGE);
    assert_held("ids.no_patient", {TAG_PATIENT, ""}, {ANONYMIZER_TAG_STUDY, "1.2"}, IMAGE);
    assert_held("ids.no_study", {TAG_PATIENT, "P"}, IMAGE);
    assert_held("ids.no_study", {TAG_PATIENT, "P"}, {ANONYMIZER_TAG_STUDY, ""}, IMAGE);
    assert_held("ids.no_study", {TAG_PATIENT, "P"}, {ANONYMIZER_TAG_STUDY, NULL}, IMAGE);
    assert_held("ids.no_series", {TAG_PATIENT, "P"}, {ANONYMIZER_TAG_STUDY, "1.2"},
                {TAG_SOP_INSTANCE, "1.2.3.4"});
    assert_held("ids.no_instance", {TAG_PATIENT, "P"}, {ANONYMIZER_TAG_STUDY, "1.2"},
                {TAG_SERIES, "1.2"});
    /* An image without text there costs itself, not its batch. */
    assert_held("ids.bad_patient", {TAG_PATIENT, NULL}, {ANONYMIZER_TAG_STUDY, "1.2"}, IMAGE);
}

static void test_study_as_patient(void **state)
{
    (void)state;
    stop(self);
    fake_option("no_patient")->number = 1;
    assert_int_equal(start(&fake_host, &self, &why), SENDIT_PASS);
    assert_int_equal(begin(self, &batch, &why), SENDIT_PASS);
    assert_int_equal(SHOW({ANONYMIZER_TAG_STUDY, "1.2"}, IMAGE), SENDIT_PASS);
    assert_string_equal(seen_patient, "study\n1.2");
    assert_held("ids.no_study",
                {ANONYMIZER_TAG_STUDY,
                 "1.2222222222222222222222222222222222222222222222222222222222222222222"
                 "22222222222222"},
                IMAGE);
}

static void test_two_patients_in_one_study(void **state)
{
    (void)state;
    assert_int_equal(SHOW({TAG_PATIENT, "P"}, {ANONYMIZER_TAG_STUDY, "1.2"}, IMAGE), SENDIT_PASS);
    assert_held("ids.two_patients", {TAG_PATIENT, "PP"}, {ANONYMIZER_TAG_STUDY, "1.2"}, IMAGE);
    assert_int_equal(SHOW({TAG_PATIENT, "PP"}, {ANONYMIZER_TAG_STUDY, "1.2.3"}, IMAGE),
                     SENDIT_PASS);
    assert_held("ids.two_patients", {TAG_PATIENT, "PP"}, {ANONYMIZER_TAG_STUDY, "1.2"}, IMAGE);
    assert_int_equal(SHOW({TAG_PATIENT, "P"}, {ANONYMIZER_TAG_STUDY, "1.2"}, IMAGE), SENDIT_PASS);
    /* The first stays first when the batch comes again after a crash. */
    assert_int_equal(begin(self, &batch, &why), SENDIT_PASS);
    assert_held("ids.two_patients", {TAG_PATIENT, "PP"}, {ANONYMIZER_TAG_STUDY, "1.2"}, IMAGE);
    /* Nothing original is noted. */
    for (size_t i = 0; i < fake_n_facts; i++)
        assert_null(strstr(fake_facts[i].key, "1.2"));
}

static void test_failures(void **state)
{
    (void)state;
    apply_result = SENDIT_ECORRUPT;
    assert_held("ids.apply", {TAG_PATIENT, "P"}, {ANONYMIZER_TAG_STUDY, "1.2"}, IMAGE);
    apply_result = SENDIT_ENOMEM;
    assert_int_equal(SHOW({TAG_PATIENT, "P"}, {ANONYMIZER_TAG_STUDY, "1.2"}, IMAGE), SENDIT_RETRY);
    compile_result = SENDIT_EINVAL;
    memset(&why, 0, sizeof(why));
    assert_int_equal(check(&fake_host, 0, &why), SENDIT_FAIL);
    assert_string_equal(why.code, "ids.profile");
    compile_result = SENDIT_OK;
    fake_option("profile")->list = NULL;
    assert_int_equal(check(&fake_host, 0, &why), SENDIT_FAIL);
    assert_non_null(strstr(why.text, "It has no profile"));
}

/* What this stage does not give costs no image: the recipe is refused. */
static void refuses_other_variables(void **state)
{
    (void)state;
    variables[0] = "item_id";
    memset(&why, 0, sizeof(why));
    assert_int_equal(check(&fake_host, 0, &why), SENDIT_PASS);
    variables[1] = "entity_timestamp";
    assert_int_equal(check(&fake_host, 0, &why), SENDIT_FAIL);
    assert_string_equal(why.code, "ids.recipes");
    assert_non_null(strstr(why.text, "var:entity_timestamp"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_identity, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_what_is_missing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_study_as_patient, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_two_patients_in_one_study, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_failures, set_up, tear_down),
        cmocka_unit_test_setup_teardown(refuses_other_variables, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
