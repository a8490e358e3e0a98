-- The event log, how far each reader is, and what became of each delivery.
-- Tables here are private to Tidegate and never published; people read them through the CLI.

-- The end of the log. Whoever appends holds this row until it commits: offsets are dense, and no reader sees a gap.
create table tidegate.log (
    one_row     boolean primary key default true check (one_row),
    last_offset bigint not null              -- the last one handed out
);
insert into tidegate.log (last_offset) values (0);

-- How far the log has got with the slot.
create table tidegate.capture (
    slot_name         text primary key,
    epoch             integer not null,      -- grows when the slot is re-created; part of every event id
    system_identifier text not null,         -- of the server the slot lives on
    timeline          integer not null,
    commit_lsn        pg_lsn not null,       -- commit of the last transaction of which an event is in the log
    ordinal           integer not null,      -- how many of that transaction's events are in the log
    end_lsn           pg_lsn not null,       -- everything up to here is in the log; never less than what was confirmed
    oldest_xid        bigint,                -- of the last heartbeat: older transactions had ended before end_lsn
    heartbeat_at      timestamptz,           -- when that heartbeat was sent
    updated_at        timestamptz not null default clock_timestamp()
);

-- What was, or may have been, missed: one row each time that capture had to stop.
create table tidegate.gap (
    id          bigint generated always as identity primary key,
    slot_name   text not null,
    epoch       integer not null,            -- that the log had followed
    from_lsn    pg_lsn not null,             -- everything up to here is in the log
    to_lsn      pg_lsn,                      -- from here on changes are captured again, once they are
    reason      text not null,
    found_at    timestamptz not null default clock_timestamp(),
    resolved_at timestamptz,
    recovered   bigint                       -- events that comparing tables with the log brought
);
create unique index gap_open on tidegate.gap (slot_name) where resolved_at is null;

create table tidegate.event (
    log_offset  bigint not null,             -- dense, from 1, in commit order
    logged_at   timestamptz not null default now(),
    commit_time timestamptz not null,
    epoch       integer not null,
    commit_lsn  pg_lsn not null,
    ordinal     integer not null,
    xid         bigint not null,             -- the low 32 bits, as the WAL has it
    parent      text,                        -- id of the event whose handler made this change
    redelivery  text,                        -- JSON: why an event that was not committed just before stands here
    body        text not null,               -- the event as JSON; text, because parsing it to jsonb halves the append rate
    primary key (log_offset, logged_at)
) partition by range (logged_at);

-- Takes what no daily partition takes, so that an append can never fail for want of one.
create table tidegate.event_default partition of tidegate.event default;

-- Finding an event by its id or its time; both grow with the rows, so a few pages of index serve millions of them.
create index event_commit on tidegate.event using brin (commit_lsn, commit_time) with (autosummarize = on);
-- What a handler's writes led to. Events that came from outside are not in it.
create index event_parent on tidegate.event (parent) where parent is not null;

create table tidegate.outcome (
    log_offset   bigint not null,
    trigger      text not null,              -- "afterSave:Order", "afterSave:Order@webhook"
    -- done, dead: final. retry: it failed and is tried again. held: it waits here, not in the queue, because its
    -- trigger is paused or has too many waiting. moved: it goes on under a later offset.
    status       text not null check (status in ('done', 'retry', 'dead', 'held', 'moved')),
    attempts     integer not null,
    crashes      integer not null default 0, -- how often its worker ended while it ran
    error        text,
    logs         text,                       -- what the last failed attempt wrote to the console
    duration_us  bigint not null,            -- of the last attempt
    finished_at  timestamptz not null default clock_timestamp(),
    held_place   bigint,                     -- of a held one: where it stood when it first was held
    held_key     bigint,                     -- of a held one: hash of its object; null: not known
    primary key (log_offset, trigger)
);
create index outcome_unfinished on tidegate.outcome (status, trigger, log_offset)
    where status in ('retry', 'dead', 'held');
create index outcome_held on tidegate.outcome (trigger, held_place) where status = 'held';
create index outcome_held_key on tidegate.outcome (trigger, held_key, held_place) where status = 'held';

-- Each write of a handler, recorded in the write's own transaction: a repeated attempt is given the answer
-- instead of writing twice.
create table tidegate.effect (
    cause       text not null,               -- event and trigger: "1-0.16B37D48-0:afterSave:Order"
    position    text not null,               -- among the attempt's writes: "2", or "2.17" within a batch
    log_offset  bigint,                      -- of the event; effects go with it
    kind        text not null,               -- create, update, delete
    class       text not null,
    object_id   text,
    answer      text not null,               -- JSON; what the write answered, without secrets
    recorded_at timestamptz not null default clock_timestamp(),
    primary key (cause, position)
);
create index effect_log_offset on tidegate.effect using brin (log_offset);

create table tidegate.dispatch (
    one_row        boolean primary key default true check (one_row),
    log_offset     bigint not null,          -- every delivery of events up to here has been queued
    settled_offset bigint not null,          -- every delivery of events up to here has its final outcome, or is held
    generation     bigint not null,          -- of the queue; a new one starts whenever Redis lost or may have lost something
    triggers       text[] not null default '{}' -- by which it was dispatched; another set starts a new generation too
);
insert into tidegate.dispatch (log_offset, settled_offset, generation) values (0, 0, 0);

-- What operators decided about a trigger; one without a row runs.
create table tidegate.trigger (
    trigger   text primary key,
    paused_at timestamptz,
    paused_by text,
    resumed_at timestamptz                   -- workers and dispatch take it for paused some seconds longer
);

-- Long work that an operator asked for, done by the process that leads dispatch: a replay or a backfill.
create table tidegate.operation (
    id            bigint generated always as identity primary key,
    kind          text not null check (kind in ('replay', 'backfill')),
    specification text not null,             -- JSON: what it is for
    state         text not null default 'running'
                  check (state in ('running', 'paused', 'done', 'cancelled', 'failed')),
    rate          integer,                   -- events a second; null: as fast as the queue takes them
    total         bigint,                    -- events, or rows, as far as known
    done          bigint not null default 0,
    position      text,                      -- JSON: where it goes on
    error         text,
    created_at    timestamptz not null default clock_timestamp(),
    updated_at    timestamptz not null default clock_timestamp()
);

-- A worker's claim to the lanes of the queue. The fence grows with every change of owner: an outcome
-- that a former owner reports late carries an old fence and is refused.
create table tidegate.lane (
    lane       integer primary key,
    owner      text,
    fence      bigint not null default 0,
    expires_at timestamptz not null default '-infinity'
);
create table tidegate.worker (
    name       text primary key,
    expires_at timestamptz not null
);

-- How far each reader outside has been told: a sink, by its name.
create table tidegate.sink (
    name       text primary key,
    log_offset bigint not null,
    updated_at timestamptz not null default clock_timestamp()
);

-- The replica identity that a table had before Tidegate set it, to be given back.
create table tidegate.table_identity (
    table_oid oid primary key,
    identity  text not null,                 -- "default", "nothing", "full", or "using index NAME"
    -- An unchanged large value was missed under another identity: it keeps FULL while it is published.
    lacked_values boolean not null default false
);

-- Gives the changes that follow in this transaction a request context, for programs that write by SQL:
--     begin; select tidegate.set_context('{"user": "x7Gk2", "context": {"import": 12}}'); insert …; commit;
-- Keys: user (objectId), master, installationId, ip, headers, context, requestId, traceId.
create function tidegate.set_context(context jsonb) returns void
language plpgsql as $$
declare
    message text := (jsonb_build_object('master', true) || context || '{"source": "sql"}')::text;
begin
    if octet_length(message) > 262144 then
        raise exception 'a request context has at most 262144 bytes, this one has %', octet_length(message);
    end if;
    perform pg_logical_emit_message(true, 'tidegate', message);
end
$$;
