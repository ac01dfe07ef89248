/* SPDX-License-Identifier: Apache-2.0 */
/* rest.c - batches that rest at a hold entry until somebody lets them go on. */
#include "ledger/db.h"

int ledger_items_rest(struct ledger *ledger, const char *batch, const char *hold, struct err *err)
{
    struct db_arg args[] = {db_int(0), db_int(0), db_text(hold)};
    int64_t id;

    if (!hold || !*hold)
        return db_misuse(err, "images that rest nowhere");
    if (id_batch(batch, &id, err))
        return -1;
    args[0] = db_int(ID_FIRST(id));
    args[1] = db_int(ID_LAST(id));
    return change_many(ledger, SQL_REST, args, 3, err);
}

int ledger_resting(struct ledger *ledger, const char *batch, const char *hold, uint64_t *ret_n,
                   struct err *err)
{
    int64_t id, n;

    if (id_batch(batch, &id, err) ||
        db_number(ledger, SQL_RESTING,
                  DB_ARGS(db_int(ID_FIRST(id)), db_int(ID_LAST(id)), db_optional(hold)), &n, err))
        return -1;
    *ret_n = (uint64_t)n;
    return 0;
}

int ledger_batch_rest(struct ledger *ledger, const char *batch, const char *hold, struct err *err)
{
    int64_t id, changed;

    if (!hold || !*hold)
        return db_misuse(err, "a batch that rests nowhere");
    if (id_batch(batch, &id, err))
        return -1;
    changed = db_write(ledger, SQL_HELD, DB_ARGS(db_int(id), db_text(hold)), err);
    if (!changed)
        return db_misuse(err, "a batch at rest that is not at work");
    return changed < 0 ? -1 : 0;
}

int ledger_resume(struct ledger *ledger, const char *batch, struct err *err)
{
    int64_t id, changed;

    if (id_batch(batch, &id, err))
        return -1;
    changed = db_write(ledger, SQL_RESUME, DB_ARGS(db_int(id)), err);
    if (!changed)
        return db_misuse(err, "a batch that goes on and did not rest");
    return changed < 0 ? -1 : 0;
}
