-- The event log, its checkpoint, and what became of each delivery.
-- Tables here are private to Tidegate and never published; people read them through the CLI.

create table tidegate.capture (
    slot_name         text primary key,
    epoch             integer not null,      -- grows when the slot is re-created; part of every event id
    system_identifier text not null,         -- of the server the slot lives on
    timeline          integer not null,
    commit_lsn        pg_lsn not null,       -- commit of the last transaction of which an event is in the log
    ordinal           integer not null,      -- how many of that transaction's events are in the log
    end_lsn           pg_lsn not null,       -- end of the last transaction that is wholly in the log: what may be confirmed
    log_offset        bigint not null,       -- the last offset handed out
    updated_at        timestamptz not null default clock_timestamp()
);

create table tidegate.event (
    log_offset  bigint not null,             -- dense, from 1, in commit order
    commit_time timestamptz not null,
    epoch       integer not null,
    commit_lsn  pg_lsn not null,
    ordinal     integer not null,
    body        text not null,               -- the event as JSON; text, because parsing it to jsonb halves the append rate
    primary key (log_offset, commit_time)
) partition by range (commit_time);

-- Takes what no daily partition takes, so that an append can never fail for want of one.
create table tidegate.event_default partition of tidegate.event default;

-- Finding an event by its id; LSNs grow with the rows, so a few pages of index serve millions of them.
create index event_commit_lsn on tidegate.event using brin (commit_lsn);

create table tidegate.outcome (
    log_offset   bigint not null,
    trigger      text not null,              -- "afterSave:Order"
    status       text not null check (status in ('done', 'retry', 'dead')),
    attempts     integer not null,
    error        text,
    duration_us  bigint not null,            -- of the last attempt
    finished_at  timestamptz not null default clock_timestamp(),
    primary key (log_offset, trigger)
);
create index outcome_unfinished on tidegate.outcome (status, log_offset) where status <> 'done';

create table tidegate.dispatch (
    one_row        boolean primary key default true check (one_row),
    log_offset     bigint not null,          -- every delivery of events up to here has been queued
    settled_offset bigint not null,          -- every delivery of events up to here has its final outcome
    generation     bigint not null,          -- of the queue; a new one starts whenever Redis lost or may have lost something
    triggers       text[] not null default '{}' -- by which it was dispatched; another set starts a new generation too
);
insert into tidegate.dispatch (log_offset, settled_offset, generation) values (0, 0, 0);

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
