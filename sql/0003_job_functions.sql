-- How runs change: every function is one step of a run's life, and leaves nothing half done.
--
-- Order of locks, so that none waits for another in a circle: workflow, run (by id), job. Who holds a job's row takes
-- further runs only with `skip locked`. All of it runs at READ COMMITTED: each statement sees what was committed before
-- it, which is what makes "lock, then look" right.
--
-- What was due stays due when Postgres's clock is put back: whatever has been looked at and is pending again has its
-- time lowered to the present.
--
-- Plans are made once, perhaps while the tables are empty. A run that is named by its id is therefore looked up without
-- a condition that a partial index has too: an index that was small then may be the whole table now.

-- The text form of a run's id, which is its objectId in _JobStatus.
create function tidegate.run_name(id bigint) returns text language sql immutable
    return 'R' || case when id < 1000000000 then lpad(id::text, 9, '0') else id::text end;

-- The names of the groups that limits count. Names and keys hold no control characters.
create function tidegate.job_group(job text) returns text language sql immutable return 'job' || chr(9) || job;
create function tidegate.key_group(job text, key text) returns text language sql immutable
    return 'key' || chr(9) || job || chr(9) || key;

-- The group of runs whose worker was lost twice in a row: the next loss ends one, so they run one at a time, and each
-- further loss has one culprit. Those that only ran beside it are done, and are counted no more.
create function tidegate.suspect_group() returns text language sql immutable return 'suspect';
create function tidegate.is_suspect(crashes integer) returns boolean language sql immutable return crashes >= 2;

create function tidegate.is_final(state text) returns boolean language sql immutable
    return state in ('succeeded', 'failed', 'cancelled', 'skipped');

-- Holds the workflows of these runs.
create function tidegate.hold_workflows(ids bigint[]) returns void language plpgsql as $$
begin
    perform from tidegate.workflow
      where id = any(array(select run.workflow_id from tidegate.run where run.id = any(ids)))
      order by id for no key update;
end
$$;

-- After runs were made: the beginning of their history, and their rows in _JobStatus.
create function tidegate.announce_runs(ids bigint[]) returns void language plpgsql as $$
begin
    insert into tidegate.run_event (run_id, attempt, kind, body)
    select run.id, 0, 'created', json_build_object('source', run.source)::text
      from unnest(ids) as given (id) join tidegate.run on run.id = given.id;
    insert into public."_JobStatus" as shown
           ("objectId", "createdAt", "_rperm", "_wperm", "jobName", "source", "status", "params")
    select tidegate.run_name(run.id), date_trunc('milliseconds', run.created_at), '{}', '{}', run.job, run.source,
           case when run.state = 'waiting' or run.run_at > run.created_at then 'scheduled' else 'running' end,
           run.params::jsonb
      from unnest(ids) as given (id) join tidegate.run on run.id = given.id
    -- Left by a log that was dropped since.
    on conflict ("objectId") do update
       set "createdAt" = excluded."createdAt", "updatedAt" = null, "jobName" = excluded."jobName",
           "source" = excluded."source", "status" = excluded."status", "params" = excluded."params",
           "message" = null, "finishedAt" = null;
    if cardinality(ids) > 0 then
        perform pg_notify('tidegate_job', '');
    end if;
end
$$;

-- Sets as many blocked runs of each group pending as the group has room for. The jobs' rows are held by the caller.
-- A woken run keeps `blocked_on` until it is looked at again: it counts as having the place that it was woken for.
create function tidegate.unblock_groups(groups text[]) returns bigint language plpgsql as $$
declare
    changed bigint;
begin
    with full_group as (
        -- One of its runs says whose group it is.
        select given.name, sample.job, case when given.name like 'key%' then sample.concurrency_key end as key
          from (select distinct name from unnest(groups) as name) as given
         cross join lateral (select run.job, run.concurrency_key from tidegate.run
                              where run.blocked_on = given.name and run.state = 'blocked' limit 1) as sample
    ), room as (
        select full_group.name, coalesce(job.concurrency, 1000000)
               - (select count(*) from tidegate.run where run.job = full_group.job and state in ('queued', 'running')) as free
          from full_group join tidegate.job on job.name = full_group.job
         where full_group.key is null and full_group.name <> tidegate.suspect_group()
         union all
        select full_group.name, 1 - (select count(*) from tidegate.run
                                      where state in ('queued', 'running') and tidegate.is_suspect(crashes))
          from full_group
         where full_group.name = tidegate.suspect_group()
         union all
        select full_group.name, coalesce(job.key_concurrency, 1)
               - (select count(*) from tidegate.run
                   where run.job = full_group.job and run.concurrency_key = full_group.key
                     and state in ('queued', 'running'))
          from full_group join tidegate.job on job.name = full_group.job
         where full_group.key is not null
    ), next as (
        select waiting.id
          from room
         cross join lateral (select count(*) as woken from tidegate.run
                              where run.blocked_on = room.name and run.state = 'pending') as already
         cross join lateral (select run.id from tidegate.run
                              where run.blocked_on = room.name and run.state = 'blocked'
                              order by run.priority desc, run.run_at, run.id
                              limit greatest(room.free - already.woken, 0) for update skip locked) as waiting
    )
    update tidegate.run set state = 'pending', run_at = least(run_at, clock_timestamp()) from next where run.id = next.id;
    get diagnostics changed = row_count;
    if changed > 0 then
        perform pg_notify('tidegate_job', '');
    end if;
    return changed;
end
$$;

-- These runs do not run any more: whoever was blocked by them may.
--
-- The job's row is held while its runs are counted, here and in promote_runs. So a run is never blocked by one that has
-- ended unseen.
create function tidegate.release_groups(ids bigint[]) returns void language plpgsql as $$
declare
    jobs   text[];
    groups text[];
begin
    select array_agg(distinct run.job),
           array_agg(distinct tidegate.job_group(run.job)) filter (where job.concurrency is not null)
           || array_agg(distinct tidegate.key_group(run.job, run.concurrency_key)) filter (where run.concurrency_key is not null)
      into jobs, groups
      from tidegate.run join tidegate.job on job.name = run.job
     where run.id = any(ids) and (job.concurrency is not null or run.concurrency_key is not null);
    if jobs is null then
        return;
    end if;
    perform from tidegate.job where name = any(jobs) order by name for no key update;
    perform tidegate.unblock_groups(groups);
end
$$;

-- Ends a workflow whose runs have ended, or begins to undo it. Returns the runs that it skipped.
create function tidegate.advance_workflow(given bigint) returns bigint[] language plpgsql as $$
declare
    flow    tidegate.workflow;
    failed  boolean;
    open    boolean;
    skipped bigint[] := '{}';
begin
    select * into flow from tidegate.workflow where id = given for no key update;
    if not found or flow.state in ('succeeded', 'failed', 'cancelled') then
        return skipped;
    end if;
    select coalesce(bool_or(state in ('failed', 'cancelled', 'skipped') and on_failure = 'stop' and not is_compensation), false),
           coalesce(bool_or(not tidegate.is_final(state)), false)
      into failed, open from tidegate.run where workflow_id = given;
    if failed and open and flow.state = 'running' and flow.policy = 'compensate' then
        with held as (
            select id from tidegate.run
             where workflow_id = given and state in ('waiting', 'pending', 'sleeping', 'blocked', 'queued')
             order by id for no key update
        ), changed as (
            update tidegate.run
               set state = 'skipped', finished_at = clock_timestamp(), is_parked = false, blocked_on = null,
                   message = 'skipped: the workflow is being undone'
              from held where run.id = held.id returning run.id, run.attempts
        ), history as (
            insert into tidegate.run_event (run_id, attempt, kind, body)
            select id, attempts, 'finished', '{"state":"skipped"}' from changed
        )
        select coalesce(array_agg(id), '{}') into skipped from changed;
        return skipped;
    end if;
    if open then
        return skipped;
    end if;
    if failed and flow.state = 'running' and flow.policy = 'compensate' and flow.cancel_requested_at is null
       and tidegate.begin_compensation(given) then
        return skipped;
    end if;
    update tidegate.workflow
       set finished_at = clock_timestamp(),
           state = case when flow.cancel_requested_at is not null then 'cancelled'
                        when failed or flow.state = 'compensating' then 'failed' else 'succeeded' end
     where id = given;
    return skipped;
end
$$;

-- Makes the runs that undo what had succeeded, each after the one before it. False: there is nothing to undo.
create function tidegate.begin_compensation(given bigint) returns boolean language plpgsql as $$
declare
    made     bigint[] := '{}';
    done     tidegate.run;
    undoing  bigint;
    previous bigint;
begin
    for done in select * from tidegate.run
                 where workflow_id = given and state = 'succeeded' and compensate is not null and not is_compensation
                 order by finished_at desc, id desc
    loop
        insert into tidegate.run (job, params, run_at, priority, state, source, workflow_id, node, is_compensation, on_failure)
        values (done.compensate, done.params, clock_timestamp(), done.priority,
                case when previous is null then 'pending' else 'waiting' end,
                'workflow', given, done.node, true, 'continue')
        returning id into undoing;
        insert into tidegate.run_needs (run_id, needs_id, name, on_failure)
        select undoing, done.id, done.node, 'continue'
         union all select undoing, previous, null, 'continue' where previous is not null;
        made := made || undoing;
        previous := undoing;
    end loop;
    if previous is null then
        return false;
    end if;
    update tidegate.workflow set state = 'compensating' where id = given;
    perform tidegate.announce_runs(made);
    return true;
end
$$;

-- What follows from the end of `ended`: those that need them begin or are skipped. Returns the skipped.
create function tidegate.advance_dependents(ended bigint[]) returns bigint[] language plpgsql as $$
declare
    dependents bigint[];
    skipped    bigint[];
    ready      bigint;
begin
    select array_agg(held.id) into dependents
      from (select run.id from tidegate.run
             where run.id = any(array(select run_id from tidegate.run_needs where needs_id = any(ended)))
               and run.state = 'waiting'
             order by run.id for no key update) as held;
    if dependents is null then
        return '{}';
    end if;
    with verdict as (
        select given.id,
               (select min(needs_id) from tidegate.run_needs as need join tidegate.run as needed on needed.id = need.needs_id
                 where need.run_id = given.id and need.on_failure = 'stop'
                   and needed.state in ('failed', 'cancelled', 'skipped')) as failed,
               exists (select from tidegate.run_needs as need join tidegate.run as needed on needed.id = need.needs_id
                        where need.run_id = given.id and not tidegate.is_final(needed.state)) as waits
          from unnest(dependents) as given (id)
    ), changed as (
        update tidegate.run
           set state = case when failed is null then 'pending' else 'skipped' end,
               finished_at = case when failed is not null then clock_timestamp() end,
               message = case when failed is not null then 'skipped: ' || tidegate.run_name(failed) || ' did not succeed' end
          from verdict
         where run.id = verdict.id and (failed is not null or not waits)
        returning run.id, run.state, run.attempts, run.message, run.run_at
    ), history as (
        insert into tidegate.run_event (run_id, attempt, kind, body)
        select id, attempts, 'finished', json_build_object('state', 'skipped', 'error', message)::text
          from changed where state = 'skipped'
    ), shown as (
        update public."_JobStatus" as shown set "status" = 'running'
          from changed
         where changed.state = 'pending' and changed.run_at <= clock_timestamp()
           and shown."objectId" = tidegate.run_name(changed.id)
    )
    select coalesce(array_agg(id) filter (where state = 'skipped'), '{}'), count(*) filter (where state = 'pending')
      into skipped, ready from changed;
    if ready > 0 then
        perform pg_notify('tidegate_job', '');
    end if;
    return skipped;
end
$$;

-- Everything that follows when these runs have just become final. Whatever makes a run final calls it, in the same
-- transaction, and once: it holds jobs at its end. `returned`: runs that have given up their place without an end.
create function tidegate.settle_runs(ids bigint[], returned bigint[] default '{}') returns void language plpgsql as $$
declare
    ended bigint[] := ids;
    every bigint[] := ids;
    flow  bigint;
    next  bigint[];
begin
    while cardinality(ended) > 0 loop
        update public."_JobStatus" as shown
           set "status" = case run.state when 'succeeded' then 'succeeded' else 'failed' end,
               "message" = run.message, "finishedAt" = date_trunc('milliseconds', run.finished_at)
          from tidegate.run
         where run.id = any(ended) and shown."objectId" = tidegate.run_name(run.id);
        next := tidegate.advance_dependents(ended);
        for flow in select distinct workflow_id from tidegate.run where id = any(ended) order by workflow_id loop
            if flow is not null then
                next := next || tidegate.advance_workflow(flow);
            end if;
        end loop;
        ended := next;
        every := every || next;
    end loop;
    -- Last, because it holds jobs.
    perform tidegate.release_groups(every || returned);
end
$$;

-- Chooses the due runs that may begin now, at most so many a band, and says what became of each that it looked at:
-- queued, blocked (its job's or its key's limit is reached) or parked (its job is paused).
create function tidegate.promote_runs(high integer, normal integer, low integer)
    returns table (id bigint, priority smallint, verdict text) language plpgsql as $$
#variable_conflict use_column
declare
    room    integer[] := array[high, normal, low];
    band    integer;
    present timestamptz := clock_timestamp();
    level   smallint := 101;
    due     bigint[];
    chosen  bigint[] := '{}';
begin
    if exists (select from tidegate.job_control where paused_at is not null) then
        return;
    end if;
    loop
        -- From one priority that occurs to the next: what is not yet due is never read through.
        select max(run.priority) into level from tidegate.run
         where state in ('pending', 'sleeping') and not is_parked and run.priority < level;
        exit when level is null;
        band := case when level > 0 then 1 when level = 0 then 2 else 3 end;
        continue when room[band] <= 0;
        select coalesce(array_agg(held.id order by held.run_at, held.id), '{}') into due
          from (select run.id, run.run_at from tidegate.run
                 where state in ('pending', 'sleeping') and not is_parked
                   and run.priority = level and run_at <= present
                 order by run.priority desc, run_at, run.id limit room[band] for no key update skip locked) as held;
        room[band] := room[band] - cardinality(due);
        chosen := chosen || due;
    end loop;
    if cardinality(chosen) = 0 then
        return;
    end if;
    perform from tidegate.job where name = any(array(select run.job from tidegate.run where run.id = any(chosen)))
      order by name for no key update;
    return query
    with candidate as (
        select given.id, given.place, run.job, run.concurrency_key, job.paused_at is not null as is_paused, job.concurrency,
               tidegate.is_suspect(run.crashes) as is_suspect,
               case when run.concurrency_key is not null then coalesce(job.key_concurrency, 1) end as key_concurrency
          from unnest(chosen) with ordinality as given (id, place)
          join tidegate.run on run.id = given.id
          left join tidegate.job on job.name = run.job
    ), key_active as (
        select grouped.job, grouped.concurrency_key,
               (select count(*) from tidegate.run
                 where run.job = grouped.job and run.concurrency_key = grouped.concurrency_key
                   and state in ('queued', 'running')) as runs
          from (select distinct job, concurrency_key from candidate where concurrency_key is not null) as grouped
    ), job_active as (
        select grouped.job,
               (select count(*) from tidegate.run
                 where run.job = grouped.job and state in ('queued', 'running')) as runs
          from (select distinct job from candidate where concurrency is not null) as grouped
    ), by_suspicion as (
        -- The subselect is asked only when there is one.
        select candidate.*,
               is_suspect and row_number() over (partition by is_suspect order by place)
                   + (select count(*) from tidegate.run
                       where state in ('queued', 'running') and tidegate.is_suspect(crashes)) > 1 as is_held
          from candidate
    ), by_key as (
        select by_suspicion.*,
               by_suspicion.concurrency_key is not null
               and row_number() over (partition by by_suspicion.job, by_suspicion.concurrency_key, is_held order by place)
                   + key_active.runs > key_concurrency as is_key_full
          from by_suspicion
          left join key_active on key_active.job = by_suspicion.job
                              and key_active.concurrency_key = by_suspicion.concurrency_key
    ), decided as (
        -- Those that are held back otherwise take no place of their job.
        select by_key.id, by_key.place, is_paused,
               case when is_paused then null
                    when is_held then tidegate.suspect_group()
                    when is_key_full then tidegate.key_group(by_key.job, by_key.concurrency_key)
                    when by_key.concurrency is not null
                         and row_number() over (partition by by_key.job, is_key_full, is_held order by place)
                             + job_active.runs > by_key.concurrency
                    then tidegate.job_group(by_key.job) end as full_group
          from by_key left join job_active on job_active.job = by_key.job
    ), changed as (
        update tidegate.run
           set state = case when is_paused then state when full_group is not null then 'blocked' else 'queued' end,
               is_parked = is_paused, blocked_on = full_group,
               queued_at = case when not is_paused and full_group is null then present end
          from decided where run.id = decided.id
        returning run.id, run.priority, run.attempts, decided.place,
                  case when is_parked then 'parked' else state end as verdict, full_group
    ), history as (
        insert into tidegate.run_event (run_id, attempt, kind, body)
        select changed.id, changed.attempts, changed.verdict,
               case when full_group is null then '{}' else json_build_object('on', replace(full_group, chr(9), ' '))::text end
          from changed where changed.verdict <> 'parked'
    )
    select changed.id, changed.priority, changed.verdict from changed order by place;
end
$$;

-- Looks at every group that blocks, and at every parked run: nobody waits for a word that was lost, or for a limit that
-- was raised or a pause that was lifted. Returns how many are pending now.
create function tidegate.recheck_blocked() returns bigint language plpgsql as $$
declare
    groups  text[];
    changed bigint;
begin
    update tidegate.run set is_parked = false, run_at = least(run_at, clock_timestamp()) from tidegate.job
     where is_parked and job.name = run.job and job.paused_at is null;
    get diagnostics changed = row_count;
    with recursive step (name) as (
        (select blocked_on from tidegate.run where blocked_on is not null order by blocked_on limit 1)
        union all
        select (select run.blocked_on from tidegate.run where run.blocked_on > step.name order by run.blocked_on limit 1)
          from step where step.name is not null
    )
    select array_agg(name) into groups from step where name is not null;
    if groups is not null then
        perform from tidegate.job where name = any(array(select split_part(one, chr(9), 2) from unnest(groups) as one))
          order by name for no key update;
        changed := changed + tidegate.unblock_groups(groups);
    end if;
    return changed;
end
$$;

-- Records how attempts ended, and what follows. Answers only those that count: the lease of the others is not theirs.
create function tidegate.finish_runs(ids bigint[], workers text[], fences bigint[], results text[], vals text[],
                                     errors text[], messages text[], waits_ms bigint[])
    returns table (id bigint, state text) language plpgsql as $$
#variable_conflict use_column
declare
    counted  bigint[];
    states   text[];
    ended    bigint[];
    returned bigint[];
begin
    perform tidegate.hold_workflows(ids);
    perform from tidegate.run where run.id = any(ids) order by run.id for no key update;
    with given as (
        select * from unnest(ids, workers, fences, results, vals, errors, messages, waits_ms)
            as given (id, worker, fence, result, val, error, message, wait_ms)
    ), meant as (
        -- A cancel wins over another attempt; a success that was complete wins over the cancel.
        select given.*, given.result = 'crashed' as crashed,
               case when given.result in ('retry', 'crashed', 'handed_back') and found.is_cancelled then 'cancelled'
                    when given.result = 'crashed' then 'retry' else given.result end as ending
          from given
         cross join lateral (select run.fence, run.worker, run.state, run.cancel_requested_at is not null as is_cancelled
                               from tidegate.run where run.id = given.id offset 0) as found
         where found.fence = given.fence and found.worker = given.worker and found.state = 'running'
    ), changed as (
        update tidegate.run
           set state = case when ending in ('retry', 'handed_back') then 'pending' else ending end,
               run_at = case ending when 'retry' then clock_timestamp() + wait_ms * interval '1 millisecond'
                                    when 'handed_back' then least(run_at, clock_timestamp()) else run_at end,
               finished_at = case when ending not in ('retry', 'handed_back') then clock_timestamp() end,
               result = case when ending = 'succeeded' then val end,
               error = case when ending = 'succeeded' then null else coalesce(meant.error, run.error) end,
               message = case ending when 'succeeded' then coalesce(meant.message, run.message)
                                     when 'failed' then coalesce(meant.error, 'failed')
                                     when 'cancelled' then 'cancelled' else run.message end,
               resumes = ending = 'handed_back',
               crashes = case when ending = 'handed_back' then crashes
                              when ending = 'retry' and crashed then crashes + 1 else 0 end,
               worker = null
          from meant where run.id = meant.id
        returning run.id, run.state, run.attempts, run.claimed_at, meant.ending, meant.error, meant.wait_ms
    ), history as (
        insert into tidegate.run_event (run_id, attempt, kind, body)
        select id, attempts, case when ending in ('retry', 'handed_back') then ending else 'finished' end,
               json_strip_nulls(json_build_object(
                   'state', case when ending not in ('retry', 'handed_back') then ending end,
                   'error', error, 'afterMs', case when ending = 'retry' then wait_ms end,
                   'durationMs', round(extract(epoch from clock_timestamp() - claimed_at) * 1000)))::text
          from changed
    )
    select array_agg(changed.id), array_agg(changed.state),
           array_agg(changed.id) filter (where tidegate.is_final(changed.state)),
           array_agg(changed.id) filter (where changed.state = 'pending')
      into counted, states, ended, returned from changed;
    perform tidegate.settle_runs(coalesce(ended, '{}'), coalesce(returned, '{}'));
    if returned is not null then
        perform pg_notify('tidegate_job', '');
    end if;
    return query select * from unnest(counted, states);
end
$$;

-- Gives runs back that run no longer and have not ended: to be claimed again. `crashed`: their worker was lost, which
-- costs an attempt, and at the third loss in a row, or the last attempt, the run. The runs are held by the caller.
create function tidegate.return_runs(ids bigint[], crashed boolean) returns void language plpgsql as $$
declare
    ended bigint[];
begin
    with meant as (
        select run.id,
               case when run.cancel_requested_at is not null then 'cancelled'
                    when crashed and run.crashes >= 2 then 'quarantined'
                    when crashed and run.attempts > coalesce(run.retries, job.retries, 3) then 'failed'
                    else 'pending' end as ending
          from tidegate.run left join tidegate.job on job.name = run.job
         where run.id = any(ids) and run.state = 'running'
    ), changed as (
        update tidegate.run
           set state = case ending when 'quarantined' then 'failed' else ending end,
               finished_at = case when ending <> 'pending' then clock_timestamp() end,
               error = case ending when 'quarantined' then 'quarantined: its worker was lost three times in a row while it ran'
                                   when 'failed' then 'its worker was lost during the last attempt' else error end,
               message = case ending when 'quarantined' then 'quarantined: its worker was lost three times in a row while it ran'
                                     when 'failed' then 'its worker was lost during the last attempt'
                                     when 'cancelled' then 'cancelled' else message end,
               run_at = case ending when 'pending' then least(run_at, clock_timestamp()) else run_at end,
               fence = fence + 1, crashes = crashes + crashed::integer, resumes = not crashed, worker = null
          from meant where run.id = meant.id
        returning run.id, run.state, run.attempts, run.crashes, run.error, ending
    ), history as (
        insert into tidegate.run_event (run_id, attempt, kind, body)
        select id, attempts, case when crashed then 'lost' else 'handed_back' end,
               case when crashed then json_build_object('crashes', crashes)::text else '{}' end
          from changed where crashed or state = 'pending'
         union all
        select id, attempts, 'finished', json_strip_nulls(json_build_object(
                   'state', state, 'error', case when state = 'failed' then error end,
                   'isQuarantined', case when ending = 'quarantined' then true end))::text
          from changed where state <> 'pending'
    )
    select array_agg(id) filter (where state <> 'pending') into ended from changed;
    perform tidegate.settle_runs(coalesce(ended, '{}'), ids);
    if cardinality(ids) > 0 then
        perform pg_notify('tidegate_job', '');
    end if;
end
$$;

-- Takes a worker off the list, with what it runs. A claim holds the worker's row, so none comes after this looked.
-- `seen`: its beat when it was thought lost; one that has beaten since stays, with all that it runs, and
-- the answer is null. Null: whatever it is.
create function tidegate.remove_worker(gone text, crashed boolean, seen bigint) returns bigint[] language plpgsql as $$
declare
    ids bigint[];
begin
    delete from tidegate.job_worker where name = gone and (seen is null or beat = seen);
    if not found and exists (select from tidegate.job_worker where name = gone) then
        return null;
    end if;
    select coalesce(array_agg(id), '{}') into ids from tidegate.run where worker = gone and state = 'running';
    perform tidegate.hold_workflows(ids);
    select coalesce(array_agg(held.id), '{}') into ids
      from (select id from tidegate.run where id = any(ids) and worker = gone and state = 'running'
             order by id for no key update) as held;
    perform tidegate.return_runs(ids, crashed);
    return ids;
end
$$;

-- Gives back what a worker runs without knowing: it claimed it a while ago, and the answer was lost.
create function tidegate.return_strays(by_worker text, known bigint[], claimed_before timestamptz) returns void
language plpgsql as $$
declare
    ids bigint[];
begin
    select array_agg(id) into ids from tidegate.run
     where worker = by_worker and state = 'running' and claimed_at < claimed_before and not id = any(known);
    if ids is null then
        return;
    end if;
    perform tidegate.hold_workflows(ids);
    select coalesce(array_agg(held.id), '{}') into ids
      from (select id from tidegate.run
             where id = any(ids) and worker = by_worker and state = 'running' and claimed_at < claimed_before
             order by id for no key update) as held;
    perform tidegate.return_runs(ids, false);
end
$$;

-- Ids that are not in the queue any more: their runs are pending again.
create function tidegate.requeue_runs(ids bigint[]) returns bigint language plpgsql as $$
declare
    returned bigint[];
begin
    with held as (
        select id from tidegate.run where id = any(ids) and state = 'queued' order by id for no key update
    ), changed as (
        update tidegate.run set state = 'pending', queued_at = null, run_at = least(run_at, clock_timestamp())
          from held where run.id = held.id returning run.id
    )
    select coalesce(array_agg(id), '{}') into returned from changed;
    perform tidegate.release_groups(returned);
    if cardinality(returned) > 0 then
        perform pg_notify('tidegate_job', '');
    end if;
    return cardinality(returned);
end
$$;

-- Gives up a run's worker until a time; one that is to be cancelled ends instead. Answers its state; null: it is not
-- this holder's.
create function tidegate.suspend_run(given bigint, by_worker text, given_fence bigint, until timestamptz) returns text
language plpgsql as $$
declare
    changed tidegate.run;
begin
    perform tidegate.hold_workflows(array[given]);
    update tidegate.run
       set state = case when cancel_requested_at is null then 'sleeping' else 'cancelled' end,
           finished_at = case when cancel_requested_at is not null then clock_timestamp() end,
           message = case when cancel_requested_at is null then message else 'cancelled' end,
           run_at = until, resumes = true, crashes = 0, worker = null
     where id = given and worker = by_worker and fence = given_fence and state = 'running'
    returning * into changed;
    if not found then
        return null;
    end if;
    if changed.state = 'cancelled' then
        insert into tidegate.run_event (run_id, attempt, kind, body)
        values (given, changed.attempts, 'finished', '{"state":"cancelled"}');
        perform tidegate.settle_runs(array[given]);
        return changed.state;
    end if;
    insert into tidegate.run_event (run_id, attempt, kind, body)
    values (given, changed.attempts, 'sleeping', json_build_object('until', until)::text);
    update public."_JobStatus" set "status" = 'scheduled' where "objectId" = tidegate.run_name(given);
    perform tidegate.release_groups(array[given]);
    perform pg_notify('tidegate_job', '');
    return changed.state;
end
$$;

-- Cancels what has not ended. What runs is asked to: its worker hears of it at once, and by its next beat at the latest.
create function tidegate.cancel_runs(ids bigint[]) returns table (id bigint, state text) language plpgsql as $$
#variable_conflict use_column
declare
    ended   bigint[];
    running bigint[];
begin
    perform tidegate.hold_workflows(ids);
    perform from tidegate.run where run.id = any(ids) order by run.id for no key update;
    with changed as (
        update tidegate.run
           set state = case state when 'running' then state else 'cancelled' end,
               finished_at = case state when 'running' then null else clock_timestamp() end,
               message = case state when 'running' then message else 'cancelled' end,
               is_parked = false, blocked_on = null,
               cancel_requested_at = coalesce(cancel_requested_at, clock_timestamp())
         where run.id = any(ids) and not tidegate.is_final(state)
        returning run.id, run.state, run.attempts
    ), history as (
        insert into tidegate.run_event (run_id, attempt, kind, body)
        select changed.id, changed.attempts, case changed.state when 'running' then 'cancel_requested' else 'finished' end,
               case changed.state when 'running' then '{}' else '{"state":"cancelled"}' end
          from changed
    )
    select array_agg(changed.id) filter (where changed.state = 'cancelled'),
           array_agg(changed.id) filter (where changed.state = 'running')
      into ended, running from changed;
    perform pg_notify('tidegate_job', 'cancel ' || tidegate.run_name(one.id)) from unnest(running) as one (id);
    if ended is not null then
        perform tidegate.settle_runs(ended);
    end if;
    return query select run.id, run.state from tidegate.run where run.id = any(ids);
end
$$;

-- Cancels workflows with all their runs, and other runs. Nothing is undone: who cancels decides that.
-- `needed`: runs that the caller's transaction needs further, held with the others while no job is. Returns those of
-- them that exist.
create function tidegate.cancel_all(flows bigint[], ids bigint[], needed bigint[]) returns setof bigint
language plpgsql as $$
declare
    every bigint[];
    open_flows bigint[];
    flow  bigint;
begin
    perform from tidegate.workflow
      where id = any(flows || array(select run.workflow_id from tidegate.run where run.id = any(ids)))
      order by id for no key update;
    with changed as (
        update tidegate.workflow set cancel_requested_at = coalesce(cancel_requested_at, clock_timestamp())
         where id = any(flows) and finished_at is null returning id
    )
    select coalesce(array_agg(id order by id), '{}') into open_flows from changed;
    every := ids || array(select id from tidegate.run
                           where workflow_id = any(open_flows) and not tidegate.is_final(state));
    perform from tidegate.run where id = any(every || needed) order by id for no key update;
    perform tidegate.cancel_runs(every);
    foreach flow in array open_flows loop
        perform tidegate.advance_workflow(flow);
    end loop;
    return query select id from tidegate.run where id = any(needed);
end
$$;

-- Cancels a workflow with all its runs, and answers the state it is in then; null: there is none.
create function tidegate.cancel_workflow(given bigint) returns text language plpgsql as $$
begin
    perform tidegate.cancel_all(array[given], '{}', '{}');
    return (select state from tidegate.workflow where id = given);
end
$$;

-- Runs a run again that has failed, was cancelled or skipped; with it wait again those that were skipped for its sake.
-- `afresh`: without the steps and effects of its attempts, and what it starts is started anew. Answers what the run was, or 'compensated' for a part of a
-- workflow that has been undone; null: there is none.
create function tidegate.retry_run(given bigint, afresh boolean) returns text language plpgsql as $$
declare
    was     tidegate.run;
    revived bigint[];
    first_key text := 'run:' || tidegate.run_name(given) || ':';
    after_key text := 'run:' || tidegate.run_name(given) || ';';
begin
    perform from tidegate.workflow
      where id = any(array(select workflow_id from tidegate.run where run.id = given)
                     || case when afresh then array(select flow.id from tidegate.workflow as flow
                                                     where flow.idempotency_key like 'run:%'
                                                       and flow.idempotency_key ~>=~ first_key
                                                       and flow.idempotency_key ~<~ after_key) end)
      order by id for no key update;
    select * into was from tidegate.run where id = given for no key update;
    if not found or was.state not in ('failed', 'cancelled', 'skipped') then
        return was.state;
    end if;
    if exists (select from tidegate.run where workflow_id = was.workflow_id and is_compensation) then
        return 'compensated';
    end if;
    if afresh then
        delete from tidegate.run_step where run_id = given;
        delete from tidegate.effect where cause = 'run:' || tidegate.run_name(given);
        -- What it started stays, and is not what it starts now.
        update tidegate.workflow set idempotency_key = null
         where idempotency_key like 'run:%' and idempotency_key ~>=~ first_key and idempotency_key ~<~ after_key;
        with held as (
            select run.id from tidegate.run
             where idempotency_key like 'run:%' and idempotency_key ~>=~ first_key and idempotency_key ~<~ after_key
             order by run.id for no key update
        )
        update tidegate.run set idempotency_key = null from held where run.id = held.id;
    end if;
    with recursive waiting (id) as (
        select given
         union
        select run.id from waiting
          join tidegate.run_needs as need on need.needs_id = waiting.id and need.on_failure = 'stop'
          join tidegate.run on run.id = need.run_id and run.state = 'skipped'
    ), held as (
        select run.id from tidegate.run where run.id = any(array(select id from waiting)) order by run.id for no key update
    ), changed as (
        update tidegate.run
           set state = case when run.id = given then 'pending' else 'waiting' end,
               run_at = case when run.id = given then clock_timestamp() else run_at end,
               attempts = 0, crashes = 0, resumes = false, fence = fence + 1, finished_at = null, cancel_requested_at = null,
               result = null, error = null, message = null, progress = null
          from held where run.id = held.id
        returning run.id, run.state, run.workflow_id
    ), history as (
        insert into tidegate.run_event (run_id, attempt, kind, body)
        select id, 0, 'retried', json_build_object('afresh', afresh)::text from changed
    ), shown as (
        update public."_JobStatus" as shown
           set "status" = case changed.state when 'pending' then 'running' else 'scheduled' end, "message" = null, "finishedAt" = null
          from changed where shown."objectId" = tidegate.run_name(changed.id)
    ), flows as (
        update tidegate.workflow set state = 'running', finished_at = null, cancel_requested_at = null
         where id = any(array(select workflow_id from changed))
    )
    select array_agg(id) into revived from changed;
    perform pg_notify('tidegate_job', '');
    return was.state;
end
$$;

-- Forgets runs with all that belongs to them. What they were needed for is settled by the caller.
create function tidegate.purge_runs(ids bigint[]) returns void language plpgsql as $$
begin
    delete from tidegate.run_event where run_id = any(ids);
    delete from tidegate.run_step where run_id = any(ids);
    delete from tidegate.run_needs where run_id = any(ids);
    delete from tidegate.effect where cause = any(array(select 'run:' || tidegate.run_name(one) from unnest(ids) as one));
    delete from public."_JobStatus" where "objectId" = any(array(select tidegate.run_name(one) from unnest(ids) as one));
    delete from tidegate.run where id = any(ids);
end
$$;

-- Deletes one run; one that runs only by force: its worker hears of it and may write nothing more. Answers the state
-- that it had: 'running' without force means that nothing was done; null: there is none.
create function tidegate.delete_run(given bigint, by_force boolean) returns text language plpgsql as $$
declare
    was text;
begin
    perform tidegate.hold_workflows(array[given]);
    select state into was from tidegate.run where id = given for no key update;
    if not found or (was = 'running' and not by_force) then
        return was;
    end if;
    if not tidegate.is_final(was) then
        update tidegate.run
           set state = 'cancelled', finished_at = clock_timestamp(), fence = fence + 1, worker = null, is_parked = false,
               blocked_on = null
         where id = given;
        perform tidegate.settle_runs(array[given]);
    end if;
    perform tidegate.purge_runs(array[given]);
    if was = 'running' then
        perform pg_notify('tidegate_job', 'cancel ' || tidegate.run_name(given));
    end if;
    return was;
end
$$;

-- Deletes at most `most` runs that ended before a time and that nothing unfinished needs, and says how many.
create function tidegate.purge_finished(before timestamptz, most integer) returns bigint language plpgsql as $$
declare
    ids bigint[];
begin
    select coalesce(array_agg(held.id), '{}') into ids
      from (select run.id from tidegate.run
             where run.finished_at < before
               and not exists (select from tidegate.run_needs as need join tidegate.run as dependent on dependent.id = need.run_id
                                where need.needs_id = run.id and not tidegate.is_final(dependent.state))
               and not exists (select from tidegate.workflow where id = run.workflow_id and finished_at is null)
             order by run.finished_at limit most for update skip locked) as held;
    perform tidegate.purge_runs(ids);
    return cardinality(ids);
end
$$;

-- Wakes the scheduler when rows of Parse's _JobSchedule change, by SQL too.
create function tidegate.announce_schedules() returns trigger language plpgsql as $$
begin
    perform pg_notify('tidegate_job', 'schedules');
    return null;
end
$$;
