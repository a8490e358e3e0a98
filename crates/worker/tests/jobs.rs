//! What a run does from its start to its end, when nobody disturbs it.

use serde_json::{Value, json};
use tidegate_job::RunState;
use tidegate_parse_protocol::JobCall;

use crate::stage::Stage;

#[tokio::test]
async fn a_run_is_seen_while_it_runs_and_kept_when_it_is_over() {
    let main = "Parse.Cloud.job('report', async (request) => {
            console.log('begun', request.params.n, request.attempt, request.maxAttempts);
            request.progress(1, 4, 'a quarter');
            await request.message('working');
            await new Promise((resolve) => request.signal.addEventListener('abort', resolve));
        });
        Parse.Cloud.job('sum', { retries: 1 }, async (request) => {
            request.log.info('adding');
            return { sum: request.params.a + request.params.b, job: request.jobId, of: request.maxAttempts };
        });";
    let stage = Stage::start(main).await;
    let run = stage.begin("report", json!({"n": 7})).await;
    stage.happens(run, "log", 1).await;
    assert_eq!(stage.lines(run).await, ["begun 7 1 4"]);
    stage.happens(run, "message", 1).await;
    stage.happens(run, "progress", 1).await;
    let detail = stage.run(run).await;
    assert_eq!(detail.summary.state, RunState::Running);
    let progress = json!({"done": 1.0, "total": 4.0, "message": "a quarter"});
    assert_eq!(detail.summary.progress, Some(progress));
    let shown = format!(
        "select \"jobName\" || ' ' || status || ' ' || message from \"_JobStatus\" where \"objectId\" = '{run}'"
    );
    assert_eq!(stage.sql(&shown).await, "report running working");
    stage
        .call(JobCall::Cancel {
            id: run.to_string(),
        })
        .await
        .unwrap();
    stage.reaches(run, RunState::Succeeded).await;
    assert_eq!(stage.sql(&shown).await, "report succeeded working");

    let run = stage.begin("sum", json!({"a": 2, "b": 3})).await;
    let detail = stage.reaches(run, RunState::Succeeded).await;
    let result = json!({"sum": 5, "job": run.to_string(), "of": 2});
    assert_eq!(detail.result, Some(result));
    assert_eq!(stage.lines(run).await, ["adding"]);
    assert_eq!(
        stage.kinds(run).await,
        ["created", "queued", "started", "log", "finished"]
    );
}

#[tokio::test]
async fn a_failed_attempt_is_repeated_and_what_it_wrote_is_not() {
    let main = "Parse.Cloud.job('child', () => 'done');
        Parse.Cloud.job('import', { retries: 2, backoff: { initial: 1 } }, async (request) => {
            const row = await new Parse.Object('Row').save({ n: request.attempt }, { useMasterKey: true });
            const child = await Parse.Cloud.startJob('child', { of: request.attempt });
            if (request.attempt < 3) throw new Error('not yet');
            return { row: row.id, child };
        });";
    let stage = Stage::start(main).await;
    let run = stage.begin("import", json!({})).await;
    let detail = stage.reaches(run, RunState::Succeeded).await;
    assert_eq!(detail.summary.attempts, 3);
    let rows = "select count(*) || ' ' || min(\"n\") from \"Row\"";
    assert_eq!(stage.sql(rows).await, "1 1");
    let children = "select string_agg(tidegate.run_name(id) || ' ' || params, ', ') from tidegate.run where job = 'child'";
    let result = detail.result.unwrap();
    let child = result["child"].as_str().unwrap();
    assert_eq!(stage.sql(children).await, format!("{child} {{\"of\":1}}"));
    let retry = stage.happens(run, "retry", 2).await;
    assert_eq!(retry.body["error"], "not yet");
    let lines = stage.lines(run).await;
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(
        lines[0].contains("not yet") && lines[0].contains("main.js:"),
        "{lines:?}"
    );
}

#[tokio::test]
async fn a_job_that_gives_up_is_not_repeated_and_one_without_retries_neither() {
    let main = "Parse.Cloud.job('hopeless', (request) => { throw Object.assign(new Error('no use'), { retry: false }); });
        Parse.Cloud.job('once', { retries: 0 }, () => { throw 'a text'; });
        Parse.Cloud.job('large', () => 'x'.repeat(1024 * 1024));";
    let stage = Stage::start(main).await;
    for (job, error) in [
        ("hopeless", "no use"),
        ("once", "a text"),
        ("large", "the limit is"),
    ] {
        let run = stage.begin(job, json!({})).await;
        let detail = stage.reaches(run, RunState::Failed).await;
        assert_eq!(detail.summary.attempts, 1, "{job}");
        let found = detail.summary.error.unwrap();
        assert!(found.contains(error), "{job}: {found}");
        let shown = format!(
            "select status || ': ' || message from \"_JobStatus\" where \"objectId\" = '{run}'"
        );
        assert_eq!(stage.sql(&shown).await, format!("failed: {found}"));
    }
}

#[tokio::test]
async fn steps_are_remembered_and_a_sleep_needs_no_worker() {
    let main = "let times = 0;
        Parse.Cloud.job('long', { retries: 1, backoff: { initial: 1 } }, async (request) => {
            const first = await request.step('first', async () => {
                const row = await new Parse.Object('Row').save({ step: 'first' }, { useMasterKey: true });
                return { id: row.id, attempt: request.attempt };
            });
            await request.sleep(1500);
            const second = await request.step('second', () => new Date(5));
            if (request.attempt === 1) throw new Error('again');
            await new Parse.Object('Row').save({ step: 'none' }, { useMasterKey: true });
            return { first, second, attempt: request.attempt };
        });";
    let stage = Stage::start(main).await;
    let run = stage.begin("long", json!({})).await;
    let asleep = stage.reaches(run, RunState::Sleeping).await;
    assert_eq!((asleep.summary.worker, asleep.summary.attempts), (None, 1));
    let detail = stage.reaches(run, RunState::Succeeded).await;
    let result = detail.result.unwrap();
    assert_eq!(result["first"]["attempt"], 1);
    assert_eq!(
        result["second"],
        json!({"__type": "Date", "iso": "1970-01-01T00:00:00.005Z"})
    );
    assert_eq!(result["attempt"], 2);
    assert_eq!(
        stage
            .sql("select string_agg(\"step\", ' ' order by \"step\") from \"Row\"")
            .await,
        "first none"
    );
    let expected = [
        "created", "queued", "started", "step", "sleeping", "queued", "resumed", "step", "log",
        "retry", "queued", "started", "finished",
    ];
    assert_eq!(stage.kinds(run).await, expected);
}

#[tokio::test]
async fn a_workflows_node_gets_the_results_of_what_it_needs() {
    let main = "Parse.Cloud.job('two', () => 2);
        Parse.Cloud.job('twice', (request) => ({ twice: request.inputs.two * 2, node: request.workflow.node }));
        Parse.Cloud.job('outer', async () => Parse.Cloud.startWorkflow('flow', { a: 1 }));";
    let stage = Stage::start(main).await;
    let graph =
        json!({"nodes": {"two": {"job": "two"}, "twice": {"job": "twice", "after": "two"}}});
    let flow = tidegate_job::WorkflowDefinition {
        name: "flow".into(),
        graph: tidegate_job::Graph::parse(&graph).unwrap(),
    };
    let jobs: Vec<tidegate_job::JobDefinition> = ["two", "twice", "outer"]
        .map(|name| tidegate_job::JobDefinition {
            name: name.into(),
            options: Default::default(),
        })
        .into();
    stage.jobs.register(&jobs, &[flow], "r1").await.unwrap();
    let outer = stage.begin("outer", json!({})).await;
    let outer = stage.reaches(outer, RunState::Succeeded).await;
    let id = outer.result.unwrap();
    assert!(id.as_str().unwrap().starts_with("W0"), "{id}");
    let last = "select coalesce((select result from tidegate.run where node = 'twice'), '')";
    let result = crate::stage::eventually(async || {
        let result = stage.sql(last).await;
        (!result.is_empty()).then_some(result)
    })
    .await;
    let result: Value = serde_json::from_str(&result).unwrap();
    assert_eq!(result, json!({"twice": 4, "node": "twice"}));
}
