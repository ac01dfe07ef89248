/* SPDX-License-Identifier: Apache-2.0 */
/*
 * schema.h - the tables of the ledger, as SQLite gets them.
 *
 * Ids are numbers: batch 12 is shown as "b12"; item 34 of it is 12 * 2^24 + 34, shown as
 * "b12-000034".  Where the column `item` may also speak of the whole batch, that is 12 * 2^24.
 * Paths and keys are BLOBs, since a file name may have any byte but '/' and NUL; they are compared
 * as bytes.  Times are milliseconds of the wall clock, 0 for never.
 *
 * Values of images are in `crosswalk` and nowhere else.  `batch.key`, `batch.done_folder`,
 * `item.path` and `feed.path` may be PHI, too.
 */
#ifndef SENDIT_LEDGER_SCHEMA_H
#define SENDIT_LEDGER_SCHEMA_H

#define SCHEMA_APPLICATION 0x53444954 /* "SDIT", in the header of the file */
#define SCHEMA_VERSION 2              /* user_version; a higher one is refused */

/* clang-format off */
#define SCHEMA_BATCH \
    "CREATE TABLE batch (" \
    "  id INTEGER PRIMARY KEY," \
    "  key BLOB NOT NULL," \
    "  continues INTEGER,"                        /* the first batch of that key */ \
    "  state TEXT NOT NULL" \
    "    CHECK (state IN ('QUEUE', 'PROCESSING', 'DONEPROCESSING', 'HELD', 'DONE', 'EMPTY'," \
    "     'ERROR'))," \
    "  attempt INTEGER NOT NULL DEFAULT 0," \
    "  when_done INTEGER NOT NULL CHECK (when_done BETWEEN 0 AND 2)," \
    "  done_folder BLOB," \
    "  done_due INTEGER NOT NULL DEFAULT 0,"      /* closed, when_done not carried out yet */ \
    "  queued_ms INTEGER NOT NULL," \
    "  started_ms INTEGER NOT NULL DEFAULT 0," \
    "  finished_ms INTEGER NOT NULL DEFAULT 0," \
    "  bytes INTEGER NOT NULL,"                   /* of its files */ \
    "  run INTEGER,"                              /* that touched it last */ \
    "  rests TEXT NOT NULL DEFAULT ''"            /* id of the hold entry at which it is HELD */ \
    ") STRICT", \
    "CREATE INDEX batch_key ON batch (key, id)", \
    "CREATE INDEX batch_queue ON batch (key, id) WHERE state = 'QUEUE'", \
    "CREATE INDEX batch_processing ON batch (id) WHERE state = 'PROCESSING'", \
    "CREATE INDEX batch_error ON batch (id) WHERE state = 'ERROR'", \
    "CREATE INDEX batch_due ON batch (id) WHERE done_due", \
    "CREATE INDEX batch_run ON batch (run)"
#define SCHEMA_SETTLE \
    "CREATE TABLE settle (" \
    "  batch INTEGER NOT NULL," \
    "  stage TEXT NOT NULL,"                      /* id of its entry */ \
    "  said TEXT NOT NULL CHECK (said IN ('', 'PASS', 'FAIL'))," \
    "  code TEXT NOT NULL DEFAULT ''," \
    "  text TEXT NOT NULL DEFAULT ''," \
    "  PRIMARY KEY (batch, stage)" \
    ") STRICT, WITHOUT ROWID", \
    "CREATE INDEX settle_stage ON settle (stage, batch) WHERE said = ''"

static const char *const schema_sql[] = {
    /* uuid, key_fingerprint, revision (the last one that a value of `store` got) */
    "CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID",

    /* One row for each `sendit run`, and what stood in its pipeline: with it the labels of an item
     * can be followed to the version and digest of the stage that granted them. */
    "CREATE TABLE run ("
    "  id INTEGER PRIMARY KEY,"
    "  began_ms INTEGER NOT NULL,"
    "  ended_ms INTEGER NOT NULL DEFAULT 0,"      /* stays 0 if it was killed */
    "  exit_status INTEGER,"
    "  version TEXT NOT NULL,"
    "  pipeline_digest TEXT NOT NULL,"
    "  key_fingerprint TEXT NOT NULL,"
    "  because TEXT"                              /* why the policy was lowered */
    ") STRICT",
    "CREATE TABLE run_stage ("
    "  run INTEGER NOT NULL,"
    "  position INTEGER NOT NULL,"
    "  id TEXT NOT NULL, name TEXT NOT NULL, version TEXT NOT NULL, digest TEXT NOT NULL,"
    "  path TEXT NOT NULL, grants TEXT NOT NULL, ships INTEGER NOT NULL,"
    "  rules TEXT NOT NULL,"                      /* digest of its profile and recipes, or "" */
    "  PRIMARY KEY (run, position)"
    ") STRICT, WITHOUT ROWID",

    /* What a source feeds, until its batch is closed: the tree sorts it by path. */
    "CREATE TABLE feed ("
    "  path BLOB PRIMARY KEY,"
    "  dev INTEGER NOT NULL, ino INTEGER NOT NULL, size INTEGER NOT NULL,"
    "  mtime_ns INTEGER NOT NULL,"
    "  state TEXT NOT NULL,"
    "  code TEXT NOT NULL"
    ") STRICT, WITHOUT ROWID",

    SCHEMA_BATCH,

    /* The stages whose finish() said LATER of a batch, until all of them have settled it; `said` is
     * what settle() told of it.  One of a batch in PROCESSING has one row before finish() ends. */
    SCHEMA_SETTLE,

    "CREATE TABLE item ("
    "  id INTEGER PRIMARY KEY,"
    "  path BLOB NOT NULL,"
    "  dev INTEGER NOT NULL, ino INTEGER NOT NULL, size INTEGER NOT NULL,"
    "  mtime_ns INTEGER NOT NULL,"
    "  state TEXT NOT NULL CHECK (state IN"
    "    ('waiting', 'stored', 'checked', 'quarantined', 'failed', 'ignored')),"
    "  passed INTEGER NOT NULL DEFAULT 0,"        /* through every stage, its batch unfinished */
    "  attempt INTEGER NOT NULL DEFAULT 0,"
    "  kills INTEGER NOT NULL DEFAULT 0,"         /* in a row, of its workers, from outside */
    "  dropped INTEGER NOT NULL DEFAULT 0,"       /* in quarantine for good: somebody said so */
    "  stage TEXT NOT NULL DEFAULT '',"
    "  code TEXT NOT NULL DEFAULT '',"
    "  text TEXT NOT NULL DEFAULT '',"
    "  labels TEXT NOT NULL DEFAULT '',"
    "  header_digest TEXT NOT NULL DEFAULT '',"
    "  pixel_length INTEGER NOT NULL DEFAULT 0,"
    "  uid TEXT NOT NULL DEFAULT '',"             /* the new SOP Instance UID */
    "  decided_ms INTEGER NOT NULL DEFAULT 0,"
    "  run INTEGER,"                              /* that decided */
    "  rests TEXT NOT NULL DEFAULT '',"           /* id of the hold entry at which it rests */
    "  CHECK (NOT passed OR state = 'waiting')"
    ") STRICT",

    /* How many items of a batch are in which state, and why.  The triggers alone write it, so that
     * it agrees with `item` whoever changes that. */
    "CREATE TABLE tally ("
    "  batch INTEGER NOT NULL,"
    "  state TEXT NOT NULL, stage TEXT NOT NULL, code TEXT NOT NULL,"
    "  n INTEGER NOT NULL CHECK (n >= 0),"
    "  PRIMARY KEY (batch, state, stage, code)"
    ") STRICT, WITHOUT ROWID",
    "CREATE TRIGGER item_added AFTER INSERT ON item BEGIN"
    "  INSERT INTO tally VALUES (new.id >> 24, new.state, new.stage, new.code, 1)"
    "    ON CONFLICT DO UPDATE SET n = n + 1;"
    " END",
    "CREATE TRIGGER item_changed AFTER UPDATE OF state, stage, code ON item"
    " WHEN old.state <> new.state OR old.stage <> new.stage OR old.code <> new.code BEGIN"
    "  UPDATE tally SET n = n - 1 WHERE batch = old.id >> 24 AND state = old.state"
    "    AND stage = old.stage AND code = old.code;"
    "  INSERT INTO tally VALUES (new.id >> 24, new.state, new.stage, new.code, 1)"
    "    ON CONFLICT DO UPDATE SET n = n + 1;"
    " END",
    "CREATE TRIGGER item_kept BEFORE DELETE ON item BEGIN"
    "  SELECT RAISE(ABORT, 'an item is never deleted');"
    " END",

    /* Who has a new SOP Instance UID.  `attempt` is that of the batch: what an unfinished try of a
     * batch has noted does not count in the next one. */
    "CREATE TABLE instance ("
    "  uid TEXT PRIMARY KEY,"
    "  item INTEGER NOT NULL,"
    "  attempt INTEGER NOT NULL,"
    "  header_digest TEXT NOT NULL,"
    "  pixel_length INTEGER NOT NULL"
    ") STRICT, WITHOUT ROWID",

    /* What people decided about items in quarantine. */
    "CREATE TABLE release ("
    "  id INTEGER PRIMARY KEY,"
    "  item INTEGER NOT NULL,"
    "  at_ms INTEGER NOT NULL,"
    "  what TEXT NOT NULL CHECK (what IN ('release', 'drop')),"
    "  stage TEXT NOT NULL, code TEXT NOT NULL,"  /* who held it, and why */
    "  applies INTEGER NOT NULL DEFAULT 1,"       /* the file is still the one that was released */
    "  vouched TEXT NOT NULL,"                    /* labels, separated by blanks */
    "  because TEXT NOT NULL,"
    "  unix_user TEXT NOT NULL"
    ") STRICT",
    "CREATE INDEX release_item ON release (item, id)",

    "CREATE TABLE message ("
    "  id INTEGER PRIMARY KEY,"
    "  batch INTEGER NOT NULL,"
    "  level INTEGER NOT NULL,"
    "  stage TEXT NOT NULL, code TEXT NOT NULL, text TEXT NOT NULL,"
    "  item INTEGER NOT NULL,"                    /* the first that it was about */
    "  times INTEGER NOT NULL,"
    "  at_ms INTEGER NOT NULL,"                   /* the last time */
    "  UNIQUE (batch, level, stage, code, text)"
    ") STRICT",

    "CREATE TABLE fact ("
    "  item INTEGER NOT NULL,"
    "  key TEXT NOT NULL,"
    "  value TEXT NOT NULL,"
    "  PRIMARY KEY (item, key)"
    ") STRICT, WITHOUT ROWID",

    "CREATE TABLE store ("
    "  stage TEXT NOT NULL,"
    "  key TEXT NOT NULL,"
    "  value BLOB NOT NULL,"
    "  revision INTEGER NOT NULL,"                /* never given twice */
    "  PRIMARY KEY (stage, key)"
    ") STRICT",

    "CREATE TABLE crosswalk ("
    "  domain TEXT NOT NULL,"
    "  original TEXT NOT NULL,"                   /* PHI */
    "  pseudonym TEXT NOT NULL,"
    "  since_ms INTEGER NOT NULL,"
    "  PRIMARY KEY (domain, original)"
    ") STRICT, WITHOUT ROWID",
    /* New UIDs do not collide, and come in no order: an index of them costs a page for each. */
    "CREATE UNIQUE INDEX crosswalk_pseudonym ON crosswalk (domain, pseudonym)"
    "  WHERE domain <> 'uid'",

    "CREATE TABLE metric ("
    "  batch INTEGER NOT NULL,"
    "  stage TEXT NOT NULL, name TEXT NOT NULL,"
    "  value INTEGER NOT NULL,"
    "  PRIMARY KEY (batch, stage, name)"
    ") STRICT, WITHOUT ROWID",

    "CREATE TABLE audit ("
    "  id INTEGER PRIMARY KEY,"
    "  at_ms INTEGER NOT NULL,"
    "  run INTEGER,"
    "  stage TEXT NOT NULL, event TEXT NOT NULL, json TEXT NOT NULL"
    ") STRICT",
    "CREATE TRIGGER audit_unchanged BEFORE UPDATE ON audit BEGIN"
    "  SELECT RAISE(ABORT, 'the audit is never changed');"
    " END",
    "CREATE TRIGGER audit_kept BEFORE DELETE ON audit BEGIN"
    "  SELECT RAISE(ABORT, 'the audit is never changed');"
    " END",
};

/* From version 1: batch is made anew, since a CHECK cannot be changed, and named the old one while
 * its rows are taken over. */
static const char *const schema_to_2[] = {
    "ALTER TABLE batch RENAME TO batch_1",
    "DROP INDEX batch_key", "DROP INDEX batch_queue", "DROP INDEX batch_processing",
    "DROP INDEX batch_error", "DROP INDEX batch_due", "DROP INDEX batch_run",
    SCHEMA_BATCH,
    "INSERT INTO batch (id, key, continues, state, attempt, when_done, done_folder, done_due,"
    " queued_ms, started_ms, finished_ms, bytes, run)"
    " SELECT id, key, continues, state, attempt, when_done, done_folder, done_due,"
    " queued_ms, started_ms, finished_ms, bytes, run FROM batch_1",
    "DROP TABLE batch_1",
    SCHEMA_SETTLE,
    "ALTER TABLE item ADD COLUMN rests TEXT NOT NULL DEFAULT ''",
};

/* What stands in for the new version where a ledger of version 1 is only read: names of the temp
 * schema go before those of the file. */
static const char *const schema_1_read[] = {
    "CREATE TEMP VIEW batch AS SELECT *, '' AS rests FROM main.batch",
    "CREATE TEMP VIEW item AS SELECT *, '' AS rests FROM main.item",
    "CREATE TEMP TABLE settle (batch INTEGER, stage TEXT, said TEXT, code TEXT, text TEXT)",
};
/* clang-format on */

#endif
