-- Jobs: what is registered, every run that was asked for and its history, workflows, schedules and their fires.
-- Tables here are private to Tidegate and never published; people read them through the CLI, REST and the views.
-- What changes a run is in 0003_job_functions.sql and in crates/job-log.

-- Code that a release registered.
create table tidegate.job (
    name            text primary key,
    options         text not null default '{}', -- JSON, as its author wrote it
    retries         integer,                 -- of the options, where statements need them
    concurrency     integer,                 -- most runs at once; this row's lock is what counts them
    key_concurrency integer,                 -- most runs at once with one key; null: 1
    key_param       text,                    -- the param whose value is the key of a run that is given none
    is_registered   boolean not null default true, -- false: the current release does not have it
    release         text not null,
    registered_at   timestamptz not null default clock_timestamp(),
    paused_at       timestamptz,
    paused_by       text
);

-- The switch for all jobs together.
create table tidegate.job_control (
    one_row   boolean primary key default true check (one_row),
    paused_at timestamptz,
    paused_by text
);
insert into tidegate.job_control default values;

-- Graphs that a release registered.
create table tidegate.workflow_definition (
    name          text primary key,
    graph         text not null,             -- JSON
    is_registered boolean not null default true,
    release       text not null,
    registered_at timestamptz not null default clock_timestamp()
);

-- One run of a whole graph. Whoever ends or cancels runs of a workflow holds its row first.
create table tidegate.workflow (
    id                  bigint generated always as identity primary key,
    name                text not null,
    graph               text not null,       -- JSON, as it was when it began
    params              text not null,       -- JSON
    policy              text not null check (policy in ('stop', 'continue', 'compensate')),
    source              text not null,
    idempotency_key     text,
    schedule_id         bigint,
    due_at              timestamptz,         -- of the fire that started it
    state               text not null default 'running'
                        check (state in ('running', 'compensating', 'succeeded', 'failed', 'cancelled')),
    created_at          timestamptz not null default clock_timestamp(),
    finished_at         timestamptz,
    cancel_requested_at timestamptz
);
create unique index workflow_idempotency on tidegate.workflow (name, idempotency_key) where idempotency_key is not null;
-- What handlers have started: the key is the cause, and the place in it.
create index workflow_cause on tidegate.workflow (idempotency_key text_pattern_ops) where idempotency_key like 'run:%';
create index workflow_schedule on tidegate.workflow (schedule_id) where schedule_id is not null and finished_at is null;
create index workflow_finished on tidegate.workflow (finished_at) where finished_at is not null;

create sequence tidegate.run_id as bigint;

-- One execution that was asked for. Its history is in run_event; this row is where it stands.
create table tidegate.run (
    id                  bigint primary key default nextval('tidegate.run_id'),
    run_at              timestamptz not null,            -- not before
    created_at          timestamptz not null default clock_timestamp(),
    started_at          timestamptz,                     -- of the first attempt
    claimed_at          timestamptz,                     -- of the current attempt, or the last one
    finished_at         timestamptz,
    queued_at           timestamptz,
    cancel_requested_at timestamptz,
    fence               bigint not null default 0,       -- grows with every claim and every loss
    workflow_id         bigint,
    schedule_id         bigint,
    due_at              timestamptz,                     -- of the fire that made it
    timeout_ms          bigint,                          -- null, as retries and backoff: as the job says
    retries             integer,
    attempts            integer not null default 0,      -- begun
    crashes             integer not null default 0,      -- workers in a row that were lost while it ran
    priority            smallint not null default 0 check (priority between -100 and 100),
    resumes             boolean not null default false,  -- the next claim goes on with the current attempt
    is_parked           boolean not null default false,  -- pending, and passed over because its job is paused
    is_compensation     boolean not null default false,
    state               text not null check (state in ('waiting', 'pending', 'sleeping', 'blocked', 'queued', 'running',
                                                       'succeeded', 'failed', 'cancelled', 'skipped')),
    job                 text not null,
    source              text not null,
    params              text not null,                   -- JSON
    backoff             text,                            -- JSON
    concurrency_key     text,
    idempotency_key     text,
    worker              text,
    blocked_on          text,                            -- the group that is, or was, full: see unblock_groups
    node                text,                            -- of the workflow
    on_failure          text not null default 'stop' check (on_failure in ('stop', 'continue')), -- of the node
    compensate          text,                            -- the job that undoes it
    message             text,
    progress            text,                            -- JSON
    result              text,                            -- JSON
    error               text
);
-- What is due, in the order in which it may begin. The front of it is all that promoting reads.
create index run_due on tidegate.run (priority desc, run_at, id) where state in ('pending', 'sleeping') and not is_parked;
create index run_parked on tidegate.run (job) where is_parked;
create index run_blocked on tidegate.run (blocked_on, state, priority desc, run_at, id) where blocked_on is not null;
-- Who counts against a limit.
create index run_active on tidegate.run (job, concurrency_key) where state in ('queued', 'running');
create index run_worker on tidegate.run (worker) where state = 'running';
create unique index run_idempotency on tidegate.run (job, idempotency_key) where idempotency_key is not null;
create index run_cause on tidegate.run (idempotency_key text_pattern_ops) where idempotency_key like 'run:%';
create index run_workflow on tidegate.run (workflow_id) where workflow_id is not null;
create index run_schedule on tidegate.run (schedule_id)
    where schedule_id is not null and state not in ('succeeded', 'failed', 'cancelled', 'skipped');
create index run_finished on tidegate.run (finished_at) where finished_at is not null;
create index run_list on tidegate.run (job, state, id);

-- What happened to a run, never changed. A row is added while its run's row is held, so a reader who has seen one
-- has seen all of that run before it.
create table tidegate.run_event (
    run_id  bigint not null,
    id      bigint generated always as identity,
    at      timestamptz not null default clock_timestamp(),
    attempt integer not null,
    kind    text not null,                   -- see Kind in crates/job-log/src/history.rs
    body    text not null default '{}',      -- JSON
    primary key (run_id, id)
);

-- Results that a run keeps over its attempts, and the ends of its sleeps.
create table tidegate.run_step (
    run_id      bigint not null,
    kind        text not null check (kind in ('step', 'sleep')),
    name        text not null,
    value       text not null,               -- of a step: JSON; of a sleep: milliseconds since 1970
    attempt     integer not null,
    recorded_at timestamptz not null default clock_timestamp(),
    primary key (run_id, kind, name)
);

-- Which runs must end before a run begins.
create table tidegate.run_needs (
    run_id     bigint not null,
    needs_id   bigint not null,
    name       text,                         -- under which it gets the other's result; null: it does not
    on_failure text not null check (on_failure in ('stop', 'continue')), -- when the other does not succeed
    primary key (run_id, needs_id)
);
create index run_needs_needed on tidegate.run_needs (needs_id);

-- A process that runs jobs. The leading scheduler watches the beat: it is a count, not a time, so that no clock matters.
create table tidegate.job_worker (
    name       text primary key,
    beat       bigint not null default 0,
    started_at timestamptz not null default clock_timestamp()
);

create table tidegate.schedule (
    id         bigint generated always as identity primary key,
    name       text not null unique,
    source     text not null check (source in ('code', 'config', 'api', 'parse')),
    job        text,                         -- what it starts: one of the two
    workflow   text,
    options    text not null,                -- JSON; crates/schedule reads it
    version    bigint not null default 1,    -- grows with every change; a fire of an older one is refused
    created_at timestamptz not null default clock_timestamp(),
    updated_at timestamptz not null default clock_timestamp(),
    deleted_at timestamptz,                  -- it is kept as long as its fires: a name that comes back has its history
    paused_at  timestamptz,
    paused_by  text,
    handled_at timestamptz,                  -- all due times up to here are decided; null: it is new
    next_due   timestamptz,                  -- -infinity: to be planned; null: never again
    check ((job is null) <> (workflow is null))
);
create index schedule_due on tidegate.schedule (next_due) where paused_at is null and deleted_at is null;
create index schedule_source on tidegate.schedule (source) where deleted_at is null;

-- One due time of a schedule. Its key is what makes each fire once, however many schedulers there are.
create table tidegate.fire (
    schedule_id bigint not null,
    due_at      timestamptz not null,
    fired_at    timestamptz not null default clock_timestamp(),
    result      text not null check (result in ('started', 'queued', 'skipped', 'missed')),
    detail      text not null default '{}',  -- JSON: why it was skipped, how many were missed
    run_id      bigint,
    workflow_id bigint,
    primary key (schedule_id, due_at)
);
create index fire_fired on tidegate.fire (fired_at);

-- Where each workflow stands, with its nodes: one query.
create view tidegate.workflow_state as
select workflow.id, workflow.name, workflow.state, workflow.policy, workflow.created_at, workflow.finished_at,
       count(run.id) filter (where not run.is_compensation) as nodes,
       count(run.id) filter (where run.state = 'succeeded' and not run.is_compensation) as succeeded,
       count(run.id) filter (where run.state = 'running') as running,
       count(run.id) filter (where run.state in ('failed', 'cancelled', 'skipped')) as failed,
       coalesce(json_agg(json_build_object(
           'node', run.node, 'run', run.id, 'job', run.job, 'state', run.state, 'attempts', run.attempts,
           'startedAt', run.started_at, 'finishedAt', run.finished_at, 'error', run.error,
           'isCompensation', run.is_compensation) order by run.id) filter (where run.id is not null), '[]') as runs
  from tidegate.workflow left join tidegate.run on run.workflow_id = workflow.id
 group by workflow.id;

-- What became of each due time.
create view tidegate.fire_history as
select schedule.name as schedule, fire.schedule_id, fire.due_at, fire.fired_at, fire.result, fire.detail,
       fire.run_id, fire.workflow_id,
       coalesce(run.state, workflow.state) as state, run.error,
       coalesce(run.started_at, workflow.created_at) as started_at,
       coalesce(run.finished_at, workflow.finished_at) as finished_at,
       extract(epoch from coalesce(run.started_at, fire.fired_at) - fire.due_at)::float8 as lateness_s
  from tidegate.fire
  join tidegate.schedule on schedule.id = fire.schedule_id
  left join tidegate.run on run.id = fire.run_id
  left join tidegate.workflow on workflow.id = fire.workflow_id;
