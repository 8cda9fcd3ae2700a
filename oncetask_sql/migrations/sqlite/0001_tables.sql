-- The first schema: tasks, control records, the clock and the fence counter.

CREATE TABLE oncetask_task (
    sequence INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    env TEXT NOT NULL,
    id TEXT NOT NULL,
    kind TEXT NOT NULL,
    payload TEXT NOT NULL,
    run_uid TEXT NOT NULL,
    created_by TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    wait_until INTEGER NOT NULL,
    order_at INTEGER NOT NULL,
    resource_key TEXT,
    strict_order INTEGER DEFAULT 0 NOT NULL,
    head_key TEXT,
    queue TEXT NOT NULL,
    priority INTEGER DEFAULT 0 NOT NULL,
    headers TEXT DEFAULT '{}' NOT NULL,
    lease_uid TEXT,
    leased_by TEXT,
    leased_until INTEGER,
    epoch INTEGER DEFAULT 0 NOT NULL,
    in_cleanup INTEGER DEFAULT 0 NOT NULL,
    started_at INTEGER,
    revision INTEGER DEFAULT 0 NOT NULL,
    settled_by TEXT DEFAULT '[]' NOT NULL,
    claims INTEGER DEFAULT 0 NOT NULL,
    failures INTEGER DEFAULT 0 NOT NULL,
    crashes INTEGER DEFAULT 0 NOT NULL,
    cleanup_attempts INTEGER DEFAULT 0 NOT NULL,
    is_cancelled INTEGER DEFAULT 0 NOT NULL,
    cancelled_at INTEGER,
    done_at INTEGER,
    outcome TEXT,
    result TEXT,
    errors TEXT DEFAULT '[]' NOT NULL,
    error_count INTEGER DEFAULT 0 NOT NULL,
    progress TEXT,
    recurrence TEXT,
    slots_used INTEGER DEFAULT 0 NOT NULL,
    parent_recurrence_id TEXT,
    occurrence_timestamp INTEGER,
    quarantined TEXT,
    seat_at INTEGER GENERATED ALWAYS AS (CASE WHEN strict_order THEN -62135596800000000 ELSE wait_until END) VIRTUAL
);

CREATE INDEX oncetask_task_done ON oncetask_task (env, done_at)
    WHERE done_at IS NOT NULL;

CREATE INDEX oncetask_task_generator ON oncetask_task (env, kind, wait_until)
    WHERE outcome IS NULL AND recurrence IS NOT NULL;

CREATE UNIQUE INDEX oncetask_task_head ON oncetask_task (env, kind, head_key)
    WHERE head_key IS NOT NULL;

CREATE UNIQUE INDEX oncetask_task_id ON oncetask_task (env, id);

CREATE INDEX oncetask_task_key ON oncetask_task (env, resource_key)
    WHERE resource_key IS NOT NULL;

CREATE INDEX oncetask_task_leased ON oncetask_task (env, lease_uid)
    WHERE lease_uid IS NOT NULL;

CREATE INDEX oncetask_task_live ON oncetask_task (env, kind, wait_until)
    WHERE outcome IS NULL;

CREATE INDEX oncetask_task_low ON oncetask_task (env, kind, order_at)
    WHERE outcome IS NULL AND lease_uid IS NULL AND quarantined IS NULL AND recurrence IS NULL
    AND (resource_key IS NULL OR head_key IS NOT NULL) AND crashes = 0 AND priority < 0;

CREATE INDEX oncetask_task_member ON oncetask_task (env, kind, resource_key)
    WHERE resource_key IS NOT NULL AND head_key IS NULL AND lease_uid IS NOT NULL;

CREATE INDEX oncetask_task_ready ON oncetask_task (env, kind, order_at)
    WHERE outcome IS NULL AND lease_uid IS NULL AND quarantined IS NULL AND recurrence IS NULL
    AND (resource_key IS NULL OR head_key IS NOT NULL) AND crashes = 0;

CREATE INDEX oncetask_task_suspect ON oncetask_task (env, kind, order_at)
    WHERE outcome IS NULL AND crashes > 0;

CREATE INDEX oncetask_task_wait ON oncetask_task (env, kind, resource_key, seat_at)
    WHERE outcome IS NULL AND lease_uid IS NULL AND quarantined IS NULL AND recurrence IS NULL
    AND resource_key IS NOT NULL AND head_key IS NULL;

CREATE TABLE oncetask_meta (
    one INTEGER NOT NULL,
    clock_at INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    PRIMARY KEY (one)
);

CREATE TABLE oncetask_control (
    env TEXT NOT NULL,
    name TEXT NOT NULL,
    value TEXT,
    revision INTEGER NOT NULL,
    PRIMARY KEY (env, name)
);

INSERT INTO oncetask_meta (one, clock_at, epoch) VALUES (1, 0, 0);
