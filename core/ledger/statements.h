/* SPDX-License-Identifier: Apache-2.0 */
/*
 * statements.h - every statement that the ledger runs, in the order of ledger.h.
 *
 * None has an OFFSET, or sorts what grows with a batch: each goes along a key.
 */
#ifndef SENDIT_LEDGER_STATEMENTS_H
#define SENDIT_LEDGER_STATEMENTS_H

#define ITEM_COLUMNS                                                                               \
    "id, path, dev, ino, size, mtime_ns, state, attempt, stage, code, text, labels, "              \
    "header_digest, pixel_length, uid, decided_ms, dropped, rests"
#define BATCH_COLUMNS                                                                              \
    "id, key, continues, state, attempt, when_done, done_folder, queued_ms, started_ms, "          \
    "finished_ms, bytes, rests"

/* Those of batch ?1 that wait; does any of them `rest` there? */
#define WAITING                                                                                    \
    " FROM item i WHERE i.id BETWEEN ?1 << 24 AND (?1 << 24) + 16777215 AND i.state = 'waiting'"
#define RESTS(rest) "EXISTS (SELECT 1" WAITING " AND i.rests = " rest ")"
/* Where it goes on: what begins at the source comes first. */
#define GOES_ON                                                                                    \
    "CASE WHEN " RESTS("''") " THEN ''"                                                            \
                             " ELSE coalesce((SELECT i.rests" WAITING                              \
                             " ORDER BY i.id LIMIT 1), '') END"
/* Back into the queue with what it had in hand or what begins at the source; if all that is left of
 * it rests elsewhere, nobody said that it should go on. */
#define PUT_BACK                                                                                   \
    "state = CASE WHEN " RESTS("batch.rests") " OR " RESTS(                                        \
        "''") " OR NOT EXISTS (SELECT 1" WAITING ") THEN 'QUEUE' ELSE 'HELD' END,"                 \
              " rests = CASE WHEN " RESTS("batch.rests") " THEN batch.rests ELSE " GOES_ON " END"

/* clang-format off */
#define STATEMENTS(X) \
    X(BEGIN, "BEGIN IMMEDIATE") \
    X(COMMIT, "COMMIT") \
    X(ROLLBACK, "ROLLBACK") \
    /* opening */ \
    X(META_GET, "SELECT value FROM meta WHERE key = ?1") \
    X(META_PUT, "INSERT INTO meta VALUES (?1, ?2)") \
    X(LAST_RUN, "SELECT max(id) FROM run") \
    X(RUN_BEGIN, "INSERT INTO run (began_ms, version, pipeline_digest, key_fingerprint, because)" \
                 " VALUES (?1, ?2, ?3, ?4, ?5)") \
    X(RUN_STAGE, "INSERT INTO run_stage VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)") \
    X(RUN_END, "UPDATE run SET ended_ms = ?2, exit_status = ?3 WHERE id = ?1") \
    /* feeding */ \
    X(FEED_CLEAR, "DELETE FROM feed") \
    X(FEED_ADD, "INSERT INTO feed VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT DO NOTHING") \
    X(FEED_KNOWN, "DELETE FROM feed WHERE path = ?1 AND size = ?2 AND mtime_ns = ?3") \
    X(FEED_ALL, "SELECT path, dev, ino, size, mtime_ns, state, code FROM feed ORDER BY path") \
    X(FEED_WORTH, "SELECT 1 FROM feed WHERE ?1 OR state <> 'ignored' LIMIT 1") \
    X(FEED_BYTES, "SELECT CAST(total(size) AS INTEGER) FROM feed") \
    X(KEY_BATCHES, "SELECT id, state FROM batch WHERE key = ?1 ORDER BY id") \
    X(KNOWN_ITEMS, "SELECT path, size, mtime_ns FROM item" \
                   " WHERE id BETWEEN ?1 AND ?2 AND state <> 'failed'") \
    X(BATCH_ADD, "INSERT INTO batch (key, continues, state, when_done, done_folder, queued_ms," \
                 " bytes, run) VALUES (?1, ?2, 'QUEUE', ?3, ?4, ?5, ?6, ?7)") \
    X(ITEM_ADD, "INSERT INTO item (id, path, dev, ino, size, mtime_ns, state, code, decided_ms," \
                " run) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)") \
    /* batches */ \
    X(BATCH, "SELECT " BATCH_COLUMNS " FROM batch WHERE id = ?1") \
    X(BATCHES, "SELECT " BATCH_COLUMNS " FROM batch ORDER BY id") \
    X(BATCHES_OF_RUN, "SELECT " BATCH_COLUMNS " FROM batch WHERE run = ?1 ORDER BY id") \
    X(COUNTS, "SELECT state, sum(n) FROM tally WHERE batch = ?1 GROUP BY state") \
    X(PROCESSING, "SELECT id FROM batch WHERE state = 'PROCESSING' AND id > ?1" \
                  " ORDER BY id LIMIT 1") \
    X(QUEUED, "SELECT id FROM batch WHERE state = 'QUEUE' ORDER BY key, id LIMIT 1") \
    X(CLAIM, "UPDATE batch SET state = 'PROCESSING', attempt = attempt + 1, started_ms = ?2," \
             " run = ?3 WHERE id = ?1 AND state = 'QUEUE'") \
    X(RELEASE, "UPDATE batch SET " PUT_BACK " WHERE id = ?1 AND state = 'PROCESSING'") \
    X(CLOSE, "UPDATE batch SET state = ?2, finished_ms = ?3, done_due = when_done <> 0" \
             " WHERE id = ?1 AND state IN ('PROCESSING', 'DONEPROCESSING')") \
    X(DUE, "SELECT id FROM batch WHERE done_due AND id > ?1 ORDER BY id LIMIT 1") \
    X(SETTLED, "UPDATE batch SET done_due = 0 WHERE id = ?1") \
    /* items */ \
    X(ITEM, "SELECT " ITEM_COLUMNS " FROM item WHERE id = ?1") \
    X(ITEMS, "SELECT " ITEM_COLUMNS " FROM item WHERE id BETWEEN ?1 AND ?2" \
             " AND (?3 IS NULL OR state = ?3) ORDER BY id") \
    X(ITEMS_AFTER, "SELECT " ITEM_COLUMNS " FROM item WHERE id > ?1 AND id <= ?2" \
                   " AND state = 'waiting' AND NOT passed" \
                   " AND rests = (SELECT b.rests FROM batch b WHERE b.id = ?2 >> 24)" \
                   " ORDER BY id LIMIT ?3") \
    X(LAST_ITEM, "SELECT max(id) FROM item WHERE id BETWEEN ?1 AND ?2") \
    X(ITEM_EXISTS, "SELECT attempt FROM item WHERE id = ?1") \
    X(TRIED, "UPDATE item SET attempt = attempt + 1 WHERE id = ?1") \
    X(DECIDE, "UPDATE item SET state = ?2, passed = 0, stage = ?3, code = ?4, text = ?5," \
              " labels = ?6, header_digest = ?7, pixel_length = ?8, uid = ?9, decided_ms = ?10," \
              " run = ?11 WHERE id = ?1 AND state = 'waiting'") \
    X(KILLED, "UPDATE item SET kills = kills + 1 WHERE id = ?1") \
    X(KILLS, "SELECT kills FROM item WHERE id = ?1") \
    X(CHANGED, "UPDATE item SET dev = ?2, ino = ?3, size = ?4, mtime_ns = ?5" \
               " WHERE id = ?1 AND state = 'waiting'") \
    X(PASSED, "UPDATE item SET passed = 1, kills = 0, labels = ?2, header_digest = ?3, pixel_length = ?4," \
              " uid = ?5 WHERE id = ?1 AND state = 'waiting'") \
    X(SETTLE, "UPDATE item SET state = ?3, passed = 0, decided_ms = ?4, run = ?5" \
              " WHERE id BETWEEN ?1 AND ?2 AND passed") \
    X(UNPASS, "UPDATE item SET passed = 0, labels = '', header_digest = '', pixel_length = 0," \
              " uid = '' WHERE id BETWEEN ?1 AND ?2 AND passed") \
    X(FAIL, "UPDATE item SET state = 'failed', passed = 0, stage = ?3, code = ?4, text = ?5," \
            " decided_ms = ?6, run = ?7 WHERE id BETWEEN ?1 AND ?2 AND state = 'waiting'") \
    /* what rests */ \
    X(REST, "UPDATE item SET passed = 0, rests = ?3 WHERE id BETWEEN ?1 AND ?2 AND passed") \
    X(RESTING, "SELECT count(*) FROM item WHERE id BETWEEN ?1 AND ?2 AND state = 'waiting'" \
               " AND CASE WHEN ?3 IS NULL THEN rests <> '' ELSE rests = ?3 END") \
    X(HELD, "UPDATE batch SET state = 'HELD', rests = ?2 WHERE id = ?1 AND state = 'PROCESSING'") \
    X(RESUME, "UPDATE batch SET state = 'QUEUE' WHERE id = ?1 AND state = 'HELD'") \
    /* what is settled later */ \
    X(LATER, "INSERT INTO settle (batch, stage, said) SELECT id, ?2, '' FROM batch" \
             " WHERE id = ?1 AND state = 'PROCESSING' ON CONFLICT DO NOTHING") \
    X(PROCESSED, "UPDATE batch SET state = 'DONEPROCESSING' WHERE id = ?1 AND state = 'PROCESSING'") \
    X(SETTLED_EARLY, "INSERT INTO settle SELECT id, ?2, ?3, ?4, ?5 FROM batch" \
                     " WHERE id = ?1 AND state = 'PROCESSING' ON CONFLICT DO NOTHING") \
    X(SETTLED_LATER, "UPDATE settle SET said = ?3, code = ?4, text = ?5" \
                     " WHERE batch = ?1 AND stage = ?2 AND said = ''" \
                     " AND (SELECT state FROM batch WHERE id = ?1) = 'DONEPROCESSING'") \
    X(SETTLE_LEFT, "SELECT (SELECT count(*) FROM settle WHERE batch = ?1 AND said = '')" \
                   " FROM batch WHERE id = ?1 AND state = 'DONEPROCESSING'") \
    X(SETTLE_FAILED, "SELECT stage, text FROM settle WHERE batch = ?1 AND said = 'FAIL' LIMIT 1") \
    /* in a dry pipeline nothing was handed out, and so has no digest */ \
    X(SETTLE_END, "UPDATE item SET state = CASE header_digest WHEN '' THEN 'checked' ELSE 'stored'" \
                  " END, passed = 0, decided_ms = ?3, run = (SELECT run FROM batch" \
                  " WHERE batch.id = item.id >> 24) WHERE id BETWEEN ?1 AND ?2 AND passed") \
    X(SETTLE_CLEAR, "DELETE FROM settle WHERE batch = ?1") \
    X(SETTLE_AGAIN, "UPDATE batch SET " PUT_BACK " WHERE id = ?1 AND state = 'DONEPROCESSING'") \
    X(WAITS, "SELECT s.stage, min(s.batch), count(*) FROM settle s JOIN batch b ON b.id = s.batch" \
             " WHERE s.said = '' AND b.state = 'DONEPROCESSING' GROUP BY s.stage ORDER BY s.stage") \
    X(WAITING, "SELECT count(*) FROM batch WHERE state = 'DONEPROCESSING'" \
               " AND (?1 IS NULL OR run = ?1)") \
    X(WAITS_NEXT, "SELECT s.batch FROM settle s JOIN batch b ON b.id = s.batch WHERE s.stage = ?1" \
                  " AND s.said = '' AND s.batch > ?2 AND b.state = 'DONEPROCESSING'" \
                  " ORDER BY s.batch LIMIT 1") \
    /* what people decide */ \
    X(DECISION, "INSERT INTO release (item, at_ms, what, stage, code, vouched, because, unix_user)" \
                " SELECT id, ?2, ?3, stage, code, ?4, ?5, ?6 FROM item" \
                " WHERE id = ?1 AND state = 'quarantined' AND NOT dropped") \
    X(DROP, "UPDATE item SET dropped = 1 WHERE id = ?1") \
    /* ?2: from its held file, if there is one */ \
    X(AGAIN, "UPDATE item SET state = 'waiting', kills = 0, stage = '', code = '', text = ''," \
             " labels = '', header_digest = '', pixel_length = 0, uid = '', decided_ms = 0," \
             " rests = CASE WHEN ?2 AND code <> 'hold.lost' THEN rests ELSE '' END" \
             " WHERE id = ?1 AND NOT dropped") \
    X(REOPEN, "UPDATE batch SET state = 'QUEUE', done_due = 0, rests = " GOES_ON \
              " WHERE id = ?1 AND state IN ('DONE', 'EMPTY', 'ERROR', 'HELD')") \
    X(REOPEN_FOR, "UPDATE batch SET state = 'QUEUE', done_due = 0, rests = CASE" \
                  " WHEN state = 'QUEUE' AND rests = '' THEN ''" \
                  " ELSE (SELECT i.rests FROM item i WHERE i.id = ?2) END" \
                  " WHERE id = ?1 AND state IN ('QUEUE', 'DONE', 'EMPTY', 'ERROR', 'HELD')") \
    X(OUTDATE, "UPDATE release SET applies = 0 WHERE item = ?1 AND applies") \
    X(DECISIONS, "SELECT item, at_ms, what, applies, stage, code, vouched, because, unix_user" \
                 " FROM release WHERE item BETWEEN ?1 AND ?2 ORDER BY item, id") \
    X(DROPPED, "SELECT count(*) FROM release WHERE what = 'drop' AND item BETWEEN ?1 AND ?2") \
    X(RUN_OF, "SELECT run FROM batch WHERE id = ?1 AND run IS NOT NULL") \
    X(RUN, "SELECT version, pipeline_digest, key_fingerprint, because FROM run WHERE id = ?1") \
    X(RUN_STAGES, "SELECT id, name, version, digest, path, grants, ships, rules FROM run_stage" \
                  " WHERE run = ?1 ORDER BY position") \
    /* instances: the holder, and whether it stands in the way */ \
    X(INSTANCE, "SELECT n.item, n.header_digest, n.pixel_length," \
                " i.state IN ('stored', 'checked') OR (i.state = 'waiting'" \
                "  AND b.state IN ('PROCESSING', 'DONEPROCESSING', 'HELD')" \
                "  AND b.attempt = n.attempt) OR (i.state = 'waiting' AND i.rests <> '')" \
                " FROM instance n JOIN item i ON i.id = n.item" \
                " JOIN batch b ON b.id = n.item >> 24 WHERE n.uid = ?1") \
    X(INSTANCE_PUT, "INSERT INTO instance" \
                    " SELECT ?1, ?2, attempt, ?4, ?5 FROM batch WHERE id = ?3" \
                    " ON CONFLICT DO UPDATE SET item = excluded.item, attempt = excluded.attempt," \
                    " header_digest = excluded.header_digest," \
                    " pixel_length = excluded.pixel_length") \
    /* messages */ \
    X(MESSAGE_AGAIN, "UPDATE message SET times = times + 1, at_ms = ?6 WHERE batch = ?1" \
                     " AND level = ?2 AND stage = ?3 AND code = ?4 AND text = ?5") \
    X(MESSAGE_COUNT, "SELECT count(*) FROM message WHERE batch = ?1") \
    X(MESSAGE_ADD, "INSERT INTO message (batch, level, stage, code, text, at_ms, item, times)" \
                   " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 1)") \
    X(MESSAGES, "SELECT item, level, stage, code, text, times, at_ms FROM message" \
                " WHERE batch = ?1 ORDER BY id") \
    X(NEXT_ERROR, "SELECT id FROM batch WHERE state = 'ERROR' AND id > ?1 ORDER BY id LIMIT 1") \
    /* services */ \
    X(FACT_PUT, "INSERT INTO fact VALUES (?1, ?2, ?3)" \
                " ON CONFLICT DO UPDATE SET value = excluded.value") \
    X(FACTS, "SELECT key, value FROM fact WHERE item = ?1 ORDER BY key") \
    X(STORE_GET, "SELECT value, revision FROM store WHERE stage = ?1 AND key = ?2") \
    X(STORE_PUT, "INSERT INTO store SELECT ?1, ?2, ?3, value FROM meta WHERE key = 'revision'" \
                 " ON CONFLICT DO UPDATE SET value = excluded.value," \
                 " revision = excluded.revision") \
    X(STORE_REVISION, "UPDATE meta SET value = value + 1 WHERE key = 'revision'") \
    X(STORE_DELETE, "DELETE FROM store WHERE stage = ?1 AND key = ?2") \
    X(STORE_NEXT, "SELECT key FROM store WHERE stage = ?1 AND key > ?2 ORDER BY key LIMIT 1") \
    X(AUDIT, "INSERT INTO audit (at_ms, run, stage, event, json) VALUES (?1, ?2, ?3, ?4, ?5)") \
    X(CROSSWALK_GET, "SELECT pseudonym, since_ms FROM crosswalk" \
                     " WHERE domain = ?1 AND original = ?2") \
    X(CROSSWALK_PUT, "INSERT INTO crosswalk VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING") \
    X(METRIC, "INSERT INTO metric VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO UPDATE SET value = CASE" \
              " WHEN ?4 > 0 AND value > 9223372036854775807 - ?4 THEN 9223372036854775807" \
              " WHEN ?4 < 0 AND value < (-9223372036854775807 - 1) - ?4" \
              "  THEN -9223372036854775807 - 1" \
              " ELSE value + ?4 END") \
    /* reading */ \
    X(TOTALS, "SELECT state, sum(n) FROM tally GROUP BY state") \
    X(TOTALS_OF_RUN, "SELECT t.state, sum(t.n) FROM batch b JOIN tally t ON t.batch = b.id" \
                     " WHERE b.run = ?1 GROUP BY t.state") \
    X(REASONS, "SELECT state, stage, code, sum(n) AS many FROM tally WHERE state IN" \
               " ('quarantined', 'failed', 'ignored') AND (?1 IS NULL OR batch = ?1)" \
               " GROUP BY state, stage, code HAVING many > 0 ORDER BY state, many DESC, stage," \
               " code") \
    X(REASONS_OF_RUN, "SELECT t.state, t.stage, t.code, sum(t.n) AS many FROM batch b" \
                      " JOIN tally t ON t.batch = b.id WHERE b.run = ?2 AND t.state IN" \
                      " ('quarantined', 'failed', 'ignored') AND (?1 IS NULL OR t.batch = ?1)" \
                      " GROUP BY t.state, t.stage, t.code HAVING many > 0" \
                      " ORDER BY t.state, many DESC, t.stage, t.code")
/* clang-format on */

#define STATEMENT_NAME(name, sql) SQL_##name,
enum statement { STATEMENTS(STATEMENT_NAME) N_STATEMENTS };
#undef STATEMENT_NAME

#endif
