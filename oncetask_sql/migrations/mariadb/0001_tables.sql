-- The first schema: tasks, keys to be seated later, stripes, control records, the fence counter.
-- Statements take effect one by one, so each may be repeated: a run that was cut off is run again.

CREATE TABLE IF NOT EXISTS oncetask_task (
    sequence BIGINT NOT NULL AUTO_INCREMENT,
    env VARCHAR(128) NOT NULL,
    id VARCHAR(512) NOT NULL,
    kind VARCHAR(128) NOT NULL,
    payload LONGTEXT NOT NULL,
    run_uid TEXT NOT NULL,
    created_by TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    wait_until BIGINT NOT NULL,
    order_at BIGINT NOT NULL,
    resource_key VARCHAR(512),
    strict_order TINYINT NOT NULL DEFAULT 0,
    head_key VARCHAR(512),
    queue VARCHAR(128) NOT NULL,
    priority INT NOT NULL DEFAULT 0,
    headers MEDIUMTEXT NOT NULL DEFAULT '{}',
    lease_uid VARCHAR(512),
    leased_by TEXT,
    leased_until BIGINT,
    epoch BIGINT NOT NULL DEFAULT 0,
    in_cleanup TINYINT NOT NULL DEFAULT 0,
    started_at BIGINT,
    revision BIGINT NOT NULL DEFAULT 0,
    settled_by TEXT NOT NULL DEFAULT '[]',
    claims BIGINT NOT NULL DEFAULT 0,
    failures BIGINT NOT NULL DEFAULT 0,
    crashes BIGINT NOT NULL DEFAULT 0,
    cleanup_attempts BIGINT NOT NULL DEFAULT 0,
    is_cancelled TINYINT NOT NULL DEFAULT 0,
    cancelled_at BIGINT,
    done_at BIGINT,
    outcome VARCHAR(16),
    result LONGTEXT,
    errors LONGTEXT NOT NULL DEFAULT '[]',
    error_count BIGINT NOT NULL DEFAULT 0,
    progress LONGTEXT,
    recurrence LONGTEXT,
    slots_used BIGINT NOT NULL DEFAULT 0,
    parent_recurrence_id VARCHAR(512),
    occurrence_timestamp BIGINT,
    quarantined TEXT,
    seat_at BIGINT GENERATED ALWAYS AS
        (CASE WHEN strict_order <> 0 THEN -62135596800000000 ELSE wait_until END) PERSISTENT,
    ready_at BIGINT GENERATED ALWAYS AS
        (CASE WHEN outcome IS NULL AND lease_uid IS NULL AND quarantined IS NULL AND recurrence IS NULL
            AND (resource_key IS NULL OR head_key IS NOT NULL) AND crashes = 0 THEN order_at END) PERSISTENT,
    low_at BIGINT GENERATED ALWAYS AS
        (CASE WHEN outcome IS NULL AND lease_uid IS NULL AND quarantined IS NULL AND recurrence IS NULL
            AND (resource_key IS NULL OR head_key IS NOT NULL) AND crashes = 0 AND priority < 0 THEN order_at END)
        PERSISTENT,
    suspect_at BIGINT GENERATED ALWAYS AS
        (CASE WHEN outcome IS NULL AND crashes > 0 THEN order_at END) PERSISTENT,
    generator_at BIGINT GENERATED ALWAYS AS
        (CASE WHEN outcome IS NULL AND recurrence IS NOT NULL THEN wait_until END) PERSISTENT,
    live_at BIGINT GENERATED ALWAYS AS
        (CASE WHEN outcome IS NULL THEN wait_until END) PERSISTENT,
    waiting_key VARBINARY(512) GENERATED ALWAYS AS
        (CASE WHEN outcome IS NULL AND lease_uid IS NULL AND quarantined IS NULL AND recurrence IS NULL
            AND head_key IS NULL THEN CAST(resource_key AS BINARY) END) PERSISTENT,
    member_key VARBINARY(512) GENERATED ALWAYS AS
        (CASE WHEN head_key IS NULL AND lease_uid IS NOT NULL THEN CAST(resource_key AS BINARY) END) PERSISTENT,
    PRIMARY KEY (env, id),
    UNIQUE KEY oncetask_task_sequence (sequence),
    UNIQUE KEY oncetask_task_head (env, kind, head_key),
    KEY oncetask_task_ready (env, kind, ready_at, sequence),
    KEY oncetask_task_low (env, kind, low_at, sequence),
    KEY oncetask_task_suspect (env, kind, suspect_at, sequence),
    KEY oncetask_task_generator (env, kind, generator_at),
    KEY oncetask_task_live (env, kind, live_at),
    KEY oncetask_task_leased (env, lease_uid),
    KEY oncetask_task_wait (env, kind, waiting_key, seat_at, sequence),
    KEY oncetask_task_member (env, kind, member_key),
    KEY oncetask_task_key (env, resource_key),
    KEY oncetask_task_done (env, done_at)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin;

CREATE TABLE IF NOT EXISTS oncetask_later (
    note BIGINT NOT NULL AUTO_INCREMENT,
    env VARCHAR(128) NOT NULL,
    kind VARCHAR(128) NOT NULL,
    resource_key VARCHAR(512) NOT NULL,
    PRIMARY KEY (note),
    KEY oncetask_later_env (env, note)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin;

CREATE TABLE IF NOT EXISTS oncetask_stripe (
    number INT NOT NULL,
    PRIMARY KEY (number)
) ENGINE = InnoDB;

INSERT IGNORE INTO oncetask_stripe (number)
    WITH RECURSIVE numbers (number) AS (SELECT 0 UNION ALL SELECT number + 1 FROM numbers WHERE number < 511)
    SELECT number FROM numbers;

CREATE TABLE IF NOT EXISTS oncetask_control (
    env VARCHAR(128) NOT NULL,
    name VARCHAR(640) NOT NULL,
    value LONGTEXT,
    revision BIGINT NOT NULL,
    PRIMARY KEY (env, name)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin;

CREATE SEQUENCE IF NOT EXISTS oncetask_epoch ENGINE = InnoDB;
