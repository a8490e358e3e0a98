//! The schemas of the OpenAPI document: what is sent and what is answered.
//!
//! Objects have the properties that stand here and no others; tests hold each answer against its schema.

mod build;

use serde_json::{Map, Value, json};

use build::*;

/// Every schema, by name.
pub(crate) fn all() -> Value {
    let mut all = general();
    all.extend(jobs());
    all.extend(runs());
    all.extend(lives());
    all.extend(workflows());
    all.extend(schedules());
    all.extend(clock());
    Value::Object(all)
}

fn general() -> Schemas {
    let codes = [
        "invalid",
        "forbidden",
        "not_found",
        "conflict",
        "unavailable",
        "internal",
    ];
    schemas([
        (
            "Error",
            object(json!({ "code": one_of(&codes), "error": text() })),
        ),
        (
            "Again",
            partly(
                json!({}),
                json!({ "afresh": { "type": "boolean", "default": false,
            "description": "Without what its steps and writes left" } }),
            ),
        ),
        (
            "Backoff",
            partly(
                json!({}),
                json!({ "initial": count(), "factor": { "type": "number" }, "max": count() }),
            ),
        ),
    ])
}

fn jobs() -> Schemas {
    let options = json!({
        "retries": count(), "backoff": of("Backoff"), "timeout": count(), "concurrency": count(),
        "keyConcurrency": count(), "description": text(),
    });
    let job = json!({
        "job": text(), "options": of("JobOptions"), "isRegistered": flag(), "release": text(), "registeredAt": time(),
        "pausedAt": maybe_time(), "pausedBy": maybe_text(),
        "runs": { "type": "object", "additionalProperties": count() }, "lastRun": or_null(of("Run")),
    });
    let queue = json!({
        "pausedAt": maybe_time(), "pausedBy": maybe_text(), "isScheduled": flag(), "workers": count(), "waiting": count(),
        "pending": count(), "parked": count(), "blocked": count(), "queued": count(), "running": count(), "dead": count(),
        "oldestDueMs": count(), "scheduleLatenessMs": count(),
    });
    schemas([
        ("JobOptions", partly(json!({}), options)),
        ("Job", object(job)),
        ("Jobs", object(json!({ "jobs": list_of(of("Job")) }))),
        ("Queue", object(queue)),
        (
            "RetriedRuns",
            object(json!({ "retried": count(), "refused": count(), "reasons": list_of(text()) })),
        ),
    ])
}

fn run() -> Value {
    object(json!({
        "id": text(), "job": text(), "state": of("RunState"), "source": text(),
        "priority": { "type": "integer", "minimum": -100, "maximum": 100 }, "attempts": count(), "crashes": count(),
        "createdAt": time(), "runAt": time(), "startedAt": maybe_time(), "finishedAt": maybe_time(),
        "worker": maybe_text(), "blockedOn": maybe_text(), "concurrencyKey": maybe_text(), "workflow": maybe_text(),
        "node": maybe_text(), "schedule": maybe_text(), "dueAt": maybe_time(), "isCancelRequested": flag(),
        "message": maybe_text(), "error": maybe_text(), "progress": or_null(of("Progress")),
    }))
}

fn runs() -> Schemas {
    let states = [
        "waiting",
        "pending",
        "sleeping",
        "blocked",
        "queued",
        "running",
        "succeeded",
        "failed",
        "cancelled",
        "skipped",
    ];
    let start_options = json!({
        "runAt": { "type": ["string", "integer"], "description": "ISO with zone, or milliseconds since 1970" },
        "delay": { "type": "integer", "minimum": 0, "description": "Milliseconds" },
        "retries": count(), "backoff": of("Backoff"), "timeout": count(),
        "priority": { "type": "integer", "minimum": -100, "maximum": 100 },
        "concurrencyKey": text(), "idempotencyKey": text(), "after": list_of(text()),
        "onFailure": one_of(&["stop", "continue"]),
    });
    let started = json!({ "isNew": flag(), "isScheduled": flag() });
    schemas([
        ("RunState", one_of(&states)),
        (
            "Progress",
            partly(
                json!({ "done": { "type": "number" } }),
                json!({ "total": { "type": "number" }, "message": text() }),
            ),
        ),
        ("Run", run()),
        (
            "RunPage",
            object(json!({ "runs": list_of(of("Run")), "next": maybe_text() })),
        ),
        ("StartOptions", partly(json!({}), start_options)),
        (
            "StartRun",
            partly(
                json!({ "job": text() }),
                json!({ "params": or_null(any_object()), "options": or_null(of("StartOptions")) }),
            ),
        ),
        ("StartedRun", and(run(), started)),
    ])
}

/// One run's life.
fn lives() -> Schemas {
    let attempt = json!({
        "attempt": count(), "startedAt": time(), "worker": maybe_text(), "endedAt": maybe_time(), "end": maybe_text(),
        "error": maybe_text(), "durationMs": { "type": ["number", "null"] }, "warnings": list_of(text()),
        "logLines": count(), "logs": list_of(of("LogLine")),
    });
    let shown = json!({
        "params": any_object(), "result": {}, "idempotencyKey": maybe_text(),
        "needs": { "type": "object", "additionalProperties": or_null(of("RunState")) },
        "steps": { "type": "object" }, "tries": list_of(of("Attempt")), "history": list_of(of("RunEvent")),
        "isHistoryCut": flag(),
    });
    let line = || {
        object(
            json!({ "atMs": { "type": "integer" }, "level": one_of(&["debug", "info", "warn", "error"]), "text": text() }),
        )
    };
    schemas([
        ("ShownRun", and(run(), shown)),
        ("Attempt", object(attempt)),
        (
            "RunEvent",
            object(
                json!({ "id": count(), "at": time(), "attempt": count(), "kind": text(), "body": {} }),
            ),
        ),
        (
            "History",
            object(json!({ "events": list_of(of("RunEvent")) })),
        ),
        ("LogLine", line()),
        (
            "LoggedLine",
            and(line(), json!({ "event": count(), "attempt": count() })),
        ),
        (
            "Logs",
            object(json!({ "lines": list_of(of("LoggedLine")) })),
        ),
    ])
}

fn workflow() -> Value {
    object(json!({
        "id": text(), "name": text(),
        "state": one_of(&["running", "compensating", "succeeded", "failed", "cancelled"]), "createdAt": time(),
        "finishedAt": maybe_time(), "nodes": count(), "succeeded": count(), "running": count(), "failed": count(),
        "runs": list_of(of("WorkflowNode")),
    }))
}

fn workflows() -> Schemas {
    let node = json!({
        "node": maybe_text(), "run": text(), "job": text(), "state": of("RunState"), "attempts": count(),
        "startedAt": maybe_text(), "finishedAt": maybe_text(), "error": maybe_text(), "isCompensation": flag(),
    });
    let definition =
        json!({ "name": text(), "graph": of("Graph"), "isRegistered": flag(), "release": text() });
    let graph_node = partly(
        json!({ "job": text(), "options": of("StartOptions") }),
        json!({ "params": any_object(), "after": list_of(text()), "onFailure": one_of(&["stop", "continue"]), "compensate": text() }),
    );
    let started = json!({ "isNew": flag(), "isScheduled": flag() });
    schemas([
        ("Workflow", workflow()),
        ("WorkflowNode", object(node)),
        (
            "WorkflowPage",
            object(json!({ "workflows": list_of(of("Workflow")), "next": maybe_text() })),
        ),
        (
            "StartWorkflow",
            partly(
                json!({}),
                json!({ "params": or_null(any_object()), "options": or_null(of("StartOptions")) }),
            ),
        ),
        ("StartedWorkflow", and(workflow(), started)),
        (
            "Graph",
            object(json!({
                "nodes": { "type": "object", "additionalProperties": graph_node },
                "onFailure": one_of(&["stop", "continue", "compensate"]),
            })),
        ),
        ("WorkflowDefinition", object(definition)),
        (
            "WorkflowDefinitions",
            object(json!({ "definitions": list_of(of("WorkflowDefinition")) })),
        ),
    ])
}

/// What a schedule starts: one of the two.
fn target() -> Value {
    json!({ "job": text(), "workflow": text() })
}

fn schedules() -> Schemas {
    let options = json!({
        "cron": text(), "every": { "type": ["string", "integer"] }, "daily": { "type": ["string", "object"] },
        "weekly": { "type": "object" }, "monthly": { "type": "object" }, "once": { "type": ["string", "integer"] },
        "timezone": text(), "params": any_object(), "missed": { "type": ["string", "object"] },
        "overlap": one_of(&["skip", "queue", "allow", "cancel"]), "jitter": { "type": ["string", "integer"] },
        "starts": { "type": ["string", "integer"] }, "ends": { "type": ["string", "integer"] }, "retries": count(),
        "priority": { "type": "integer" }, "description": text(),
    });
    let schedule = json!({
        "name": text(), "source": one_of(&["code", "config", "api", "parse"]), "timing": text(),
        "options": of("ScheduleOptions"), "createdAt": time(), "updatedAt": time(), "pausedAt": maybe_time(),
        "pausedBy": maybe_text(), "nextDue": maybe_time(), "nextDueLocal": maybe_text(), "lastFire": or_null(of("Fire")),
        "problem": maybe_text(),
    });
    let made = partly(json!({}), json!({ "run": text(), "workflow": text() }));
    let fire = json!({
        "dueAt": time(), "firedAt": time(), "result": one_of(&["started", "queued", "skipped", "missed"]),
        "detail": any_object(), "made": or_null(made), "state": maybe_text(), "error": maybe_text(),
        "startedAt": maybe_time(), "finishedAt": maybe_time(), "latenessSeconds": { "type": "number" },
    });
    let mut create = target();
    create["options"] = of("ScheduleOptions");
    let mut edit = target();
    edit["options"] =
        json!({ "type": "object", "description": "Options of a schedule; null takes one away" });
    schemas([
        ("ScheduleOptions", partly(json!({}), options)),
        ("Schedule", partly(schedule, target())),
        (
            "SchedulePage",
            object(json!({ "schedules": list_of(of("Schedule")), "next": maybe_text() })),
        ),
        ("CreateSchedule", partly(json!({ "name": text() }), create)),
        ("EditSchedule", partly(json!({}), edit)),
        (
            "Triggered",
            partly(
                json!({ "schedule": text(), "isScheduled": flag() }),
                json!({ "run": text(), "workflow": text() }),
            ),
        ),
        ("Fire", object(fire)),
        ("Fires", object(json!({ "fires": list_of(of("Fire")) }))),
    ])
}

fn clock() -> Schemas {
    let fates = [
        "ran",
        "cancelled",
        "skippedMissed",
        "skippedOverlap",
        "undecided",
    ];
    let counts: Map<String, Value> = fates
        .iter()
        .map(|fate| ((*fate).to_owned(), count()))
        .collect();
    let simulation = json!({
        "options": { "type": "object", "description": "Of an expression all of them; of a schedule those in place of its own" },
        "from": text(), "to": text(), "takes": { "type": "string", "description": "How long a run takes: 90s, 10m" },
        "outages": list_of(json!({ "type": "string", "description": "FROM/TO" })),
    });
    let simulated = json!({
        "due": time(), "local": text(), "fate": one_of(&fates), "firedAt": maybe_time(), "endedAt": maybe_time(),
        "latenessMs": { "type": ["integer", "null"] },
    });
    schemas([
        (
            "AskPreview",
            partly(
                json!({ "options": of("ScheduleOptions") }),
                json!({ "at": text(), "count": count() }),
            ),
        ),
        (
            "DueRow",
            object(json!({ "due": time(), "local": text(), "zone": text(), "note": maybe_text() })),
        ),
        (
            "Preview",
            object(
                json!({ "timing": text(), "timezone": text(), "at": time(), "rows": list_of(of("DueRow")) }),
            ),
        ),
        ("AskSimulation", partly(json!({}), simulation)),
        ("SimulatedRow", object(simulated)),
        (
            "Simulation",
            object(json!({
                "timing": text(), "timezone": text(), "from": time(), "to": time(), "counts": object(Value::Object(counts)),
                "rows": list_of(of("SimulatedRow")), "isCut": flag(),
            })),
        ),
    ])
}
