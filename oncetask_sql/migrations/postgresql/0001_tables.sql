-- The first schema: tasks, keys to be seated later, control records, the fence counter.

CREATE TABLE oncetask_task (
    env TEXT COLLATE "C" NOT NULL,
    id TEXT COLLATE "C" NOT NULL,
    sequence BIGINT GENERATED ALWAYS AS IDENTITY NOT NULL,
    kind TEXT COLLATE "C" NOT NULL,
    payload TEXT NOT NULL,
    run_uid TEXT COLLATE "C" NOT NULL,
    created_by TEXT COLLATE "C" NOT NULL,
    created_at BIGINT NOT NULL,
    wait_until BIGINT NOT NULL,
    order_at BIGINT NOT NULL,
    resource_key TEXT COLLATE "C",
    strict_order INTEGER DEFAULT 0 NOT NULL,
    head_key TEXT COLLATE "C",
    queue TEXT COLLATE "C" NOT NULL,
    priority INTEGER DEFAULT 0 NOT NULL,
    headers TEXT DEFAULT '{}' NOT NULL,
    lease_uid TEXT COLLATE "C",
    leased_by TEXT,
    leased_until BIGINT,
    epoch BIGINT DEFAULT 0 NOT NULL,
    in_cleanup INTEGER DEFAULT 0 NOT NULL,
    started_at BIGINT,
    revision BIGINT DEFAULT 0 NOT NULL,
    settled_by TEXT DEFAULT '[]' NOT NULL,
    claims BIGINT DEFAULT 0 NOT NULL,
    failures BIGINT DEFAULT 0 NOT NULL,
    crashes BIGINT DEFAULT 0 NOT NULL,
    cleanup_attempts BIGINT DEFAULT 0 NOT NULL,
    is_cancelled INTEGER DEFAULT 0 NOT NULL,
    cancelled_at BIGINT,
    done_at BIGINT,
    outcome TEXT COLLATE "C",
    result TEXT,
    errors TEXT DEFAULT '[]' NOT NULL,
    error_count BIGINT DEFAULT 0 NOT NULL,
    progress TEXT,
    recurrence TEXT,
    slots_used BIGINT DEFAULT 0 NOT NULL,
    parent_recurrence_id TEXT COLLATE "C",
    occurrence_timestamp BIGINT,
    quarantined TEXT,
    seat_at BIGINT GENERATED ALWAYS AS
        (CASE WHEN strict_order <> 0 THEN -62135596800000000 ELSE wait_until END) STORED,
    CONSTRAINT oncetask_task_id PRIMARY KEY (env, id)
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.05,
    autovacuum_vacuum_cost_delay = 0);

CREATE INDEX oncetask_task_sequence ON oncetask_task (env, sequence);

CREATE INDEX oncetask_task_done ON oncetask_task (env, done_at)
    WHERE done_at IS NOT NULL;

CREATE INDEX oncetask_task_generator ON oncetask_task (env, kind, wait_until)
    WHERE outcome IS NULL AND recurrence IS NOT NULL;

CREATE UNIQUE INDEX oncetask_task_head ON oncetask_task (env, kind, head_key)
    WHERE head_key IS NOT NULL;

CREATE INDEX oncetask_task_key ON oncetask_task (env, resource_key)
    WHERE resource_key IS NOT NULL;

CREATE INDEX oncetask_task_leased ON oncetask_task (env, lease_uid)
    WHERE lease_uid IS NOT NULL;

CREATE INDEX oncetask_task_live ON oncetask_task (env, kind, wait_until)
    WHERE outcome IS NULL;

CREATE INDEX oncetask_task_low ON oncetask_task (env, kind, order_at, sequence)
    WHERE outcome IS NULL AND lease_uid IS NULL AND quarantined IS NULL AND recurrence IS NULL
    AND (resource_key IS NULL OR head_key IS NOT NULL) AND crashes = 0 AND priority < 0;

CREATE INDEX oncetask_task_member ON oncetask_task (env, kind, resource_key)
    WHERE resource_key IS NOT NULL AND head_key IS NULL AND lease_uid IS NOT NULL;

CREATE INDEX oncetask_task_ready ON oncetask_task (env, kind, order_at, sequence)
    WHERE outcome IS NULL AND lease_uid IS NULL AND quarantined IS NULL AND recurrence IS NULL
    AND (resource_key IS NULL OR head_key IS NOT NULL) AND crashes = 0;

CREATE INDEX oncetask_task_suspect ON oncetask_task (env, kind, order_at, sequence)
    WHERE outcome IS NULL AND crashes > 0;

CREATE INDEX oncetask_task_wait ON oncetask_task (env, kind, resource_key, seat_at, sequence)
    WHERE outcome IS NULL AND lease_uid IS NULL AND quarantined IS NULL AND recurrence IS NULL
    AND resource_key IS NOT NULL AND head_key IS NULL;

CREATE TABLE oncetask_later (
    env TEXT COLLATE "C" NOT NULL,
    kind TEXT COLLATE "C" NOT NULL,
    resource_key TEXT COLLATE "C" NOT NULL
);

CREATE TABLE oncetask_control (
    env TEXT COLLATE "C" NOT NULL,
    name TEXT COLLATE "C" NOT NULL,
    value TEXT,
    revision BIGINT NOT NULL,
    CONSTRAINT oncetask_control_name PRIMARY KEY (env, name)
);

CREATE SEQUENCE oncetask_epoch AS BIGINT;
