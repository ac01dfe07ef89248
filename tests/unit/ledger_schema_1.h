/* SPDX-License-Identifier: Apache-2.0 */
/* ledger_schema_1.h - the tables of a ledger of version 1, as the releases before wrote them.  It
 * is never changed: state folders of sites look like this. */
#ifndef TEST_LEDGER_SCHEMA_1_H
#define TEST_LEDGER_SCHEMA_1_H

/* clang-format off */
static const char *const schema_1_sql[] = {
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

    "CREATE TABLE batch ("
    "  id INTEGER PRIMARY KEY,"
    "  key BLOB NOT NULL,"
    "  continues INTEGER,"                        /* the first batch of that key */
    "  state TEXT NOT NULL"
    "    CHECK (state IN ('QUEUE', 'PROCESSING', 'DONE', 'EMPTY', 'ERROR')),"
    "  attempt INTEGER NOT NULL DEFAULT 0,"
    "  when_done INTEGER NOT NULL CHECK (when_done BETWEEN 0 AND 2),"
    "  done_folder BLOB,"
    "  done_due INTEGER NOT NULL DEFAULT 0,"      /* closed, when_done not carried out yet */
    "  queued_ms INTEGER NOT NULL,"
    "  started_ms INTEGER NOT NULL DEFAULT 0,"
    "  finished_ms INTEGER NOT NULL DEFAULT 0,"
    "  bytes INTEGER NOT NULL,"                   /* of its files */
    "  run INTEGER"                               /* that touched it last */
    ") STRICT",
    "CREATE INDEX batch_key ON batch (key, id)",
    "CREATE INDEX batch_queue ON batch (key, id) WHERE state = 'QUEUE'",
    "CREATE INDEX batch_processing ON batch (id) WHERE state = 'PROCESSING'",
    "CREATE INDEX batch_error ON batch (id) WHERE state = 'ERROR'",
    "CREATE INDEX batch_due ON batch (id) WHERE done_due",
    "CREATE INDEX batch_run ON batch (run)",

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
/* clang-format on */

#endif
