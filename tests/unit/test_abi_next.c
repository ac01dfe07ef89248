/* SPDX-License-Identifier: Apache-2.0 */
/* What the policy of core/manual/abi.md promises: a host of the next minor, whose structs have
 * grown at their end, runs a stage that was made for ABI 1.0.  The headers are those of tests/abi.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "load/load.h"

static void it_loads_a_stage_of_1_0(void **state)
{
    const char *folders[] = {SENDIT_BUILD_DIR "/abi"};
    const struct stage_file *file = NULL;
    const struct sendit_plugin *plugin;
    struct err err = {0};
    struct loader *loader = loader_new(folders, 1, &err);

    (void)state;
    assert_non_null(loader);
    if (loader_find(loader, "one-zero", &file, &err))
        fail_msg("%s", err.text);
    plugin = file->plugin;
    assert_true(plugin->abi == 1u << 16);
    assert_true(SENDIT_ABI > plugin->abi);
    assert_true(plugin->size < sizeof(*plugin));
    assert_true(plugin->option_size < sizeof(*plugin->options));
    assert_true(plugin->in_the_next_minor == NULL); /* and not what lay behind the descriptor */
    assert_non_null(plugin->close);
    assert_int_equal(plugin->n_options, 3);
    assert_string_equal(plugin->options[0].name, "comment");
    assert_string_equal(plugin->options[1].name, "leave_out");
    assert_string_equal(plugin->options[2].name, "hold_above");
    assert_string_equal(plugin->options[2].help, "Hold what is larger.");
    assert_null(plugin->options[2].in_the_next_minor);
    loader_free(loader);
}

static sendit_verdict nothing(struct sendit_stage_state *self, const struct sendit_item *item,
                              struct sendit_why *why)
{
    (void)self, (void)item, (void)why;
    return SENDIT_FAIL;
}

static sendit_verdict opens(const struct sendit_host *host, struct sendit_stage_state **ret_self,
                            struct sendit_why *why)
{
    (void)host, (void)ret_self, (void)why;
    return SENDIT_FAIL;
}

static void closes(struct sendit_stage_state *self)
{
    (void)self;
}

/* Is a descriptor of that number and these sizes taken? */
static int takes(uint32_t abi, size_t size, size_t option_size)
{
    struct sendit_plugin plugin = {.magic = SENDIT_MAGIC,
                                   .abi = abi,
                                   .size = (uint32_t)size,
                                   .option_size = (uint32_t)option_size,
                                   .name = "x",
                                   .version = "1.0.0",
                                   .summary = "A summary.",
                                   .open = opens,
                                   .process = nothing,
                                   .close = closes};
    struct loader_copy *copy = NULL;
    struct err err = {0};
    int result = loader_check(&plugin, "x.so", "x", &copy, &err);

    loader_copy_free(copy);
    return result == 0;
}

static void sizes_are_those_of_the_number(void **state)
{
    const size_t now = sizeof(struct sendit_plugin), option = sizeof(struct sendit_option);
    const size_t first = now - sizeof(void *), first_option = option - sizeof(void *);
    const uint32_t old = SENDIT_ABI_MAJOR << 16;

    (void)state;
    assert_true(takes(SENDIT_ABI, now, option));
    assert_true(takes(old, first, first_option));
    assert_true(takes(old, now, option)); /* some minor between had them already */
    assert_false(takes(SENDIT_ABI, first, option));
    assert_false(takes(SENDIT_ABI, now, first_option));
    assert_false(takes(old, first - 1, first_option));
    assert_false(takes(old, first, first_option - 1));
    assert_false(takes(old, now + 1, option));
    assert_false(takes(old, now, option + 1));
    assert_false(takes(SENDIT_ABI + 1, now, option));
    assert_false(takes((SENDIT_ABI_MAJOR + 1) << 16, now, option));
    assert_false(takes(4, now, option)); /* 0.4 */
    assert_false(takes(0, now, option));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_loads_a_stage_of_1_0),
        cmocka_unit_test(sizes_are_those_of_the_number),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
