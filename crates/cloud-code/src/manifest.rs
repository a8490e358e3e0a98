//! What a release registers: functions, triggers, jobs, schedules, workflows.

use serde::Deserialize;
use serde_json::Value;
use tidegate_event::{Policy, Trigger, TriggerSet};

use crate::Handler;

/// What a release registers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Manifest {
    pub functions: Vec<String>,
    pub triggers: TriggerSet,
    pub jobs: Vec<JobDefinition>,
    pub schedules: Vec<ScheduleDefinition>,
    pub workflows: Vec<WorkflowDefinition>,
    /// What the author should know: handlers defined twice, options that have no effect here.
    pub warnings: Vec<String>,
}

/// What `Parse.Cloud.job` was given. The runtime has checked names and shapes; what options mean is `tidegate-job`'s.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct JobDefinition {
    pub name: String,
    /// `{ retries, backoff, timeout, concurrency, keyConcurrency, description }`, each if it was given.
    #[serde(default = "nothing")]
    pub options: Value,
}

/// What `Parse.Cloud.schedule` was given; what options mean is `tidegate-schedule`'s.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct ScheduleDefinition {
    pub name: String,
    /// As they were given, params included.
    pub options: Value,
    /// A job, or else a workflow, of this release: the one that was named, or `schedule:<name>` for a handler.
    pub job: String,
    #[serde(default = "nothing")]
    pub params: Value,
}

/// What `Parse.Cloud.workflow` was given; whether the graph can be run is for `tidegate-job` to say.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct WorkflowDefinition {
    pub name: String,
    /// `{ nodes, onFailure }`, or an array.
    pub graph: Value,
}

fn nothing() -> Value {
    Value::Object(Default::default())
}

impl Manifest {
    /// Reads what the JavaScript runtime lists. Trigger kinds that this server does not know become warnings.
    pub(crate) fn from_json(json: &str) -> serde_json::Result<Manifest> {
        let listed: Listed = serde_json::from_str(json)?;
        let mut manifest = Manifest {
            functions: listed.functions,
            jobs: listed.jobs,
            schedules: listed.schedules,
            workflows: listed.workflows,
            warnings: listed.warnings,
            ..Manifest::default()
        };
        let mut triggers = Vec::new();
        for listed in listed.triggers {
            let Ok(kind) = serde_json::from_value(Value::String(listed.kind.clone())) else {
                let warning = format!(
                    "{} on {} is registered but not supported yet",
                    listed.kind, listed.class
                );
                manifest.warnings.push(warning);
                continue;
            };
            triggers.push((Trigger::code(kind, listed.class), listed.policy));
        }
        manifest.triggers = triggers.into_iter().collect();
        Ok(manifest)
    }

    pub(crate) fn has(&self, handler: &Handler) -> bool {
        match handler {
            Handler::Function(name) => self.functions.contains(name),
            Handler::Trigger(trigger) => self.triggers.has(trigger.kind, &trigger.class),
            Handler::Job(name) => self.jobs.iter().any(|job| job.name == *name),
        }
    }
}

#[derive(Deserialize)]
struct Listed {
    #[serde(default)]
    functions: Vec<String>,
    #[serde(default)]
    triggers: Vec<ListedTrigger>,
    #[serde(default)]
    jobs: Vec<JobDefinition>,
    #[serde(default)]
    schedules: Vec<ScheduleDefinition>,
    #[serde(default)]
    workflows: Vec<WorkflowDefinition>,
    #[serde(default)]
    warnings: Vec<String>,
}

#[derive(Deserialize)]
struct ListedTrigger {
    kind: String,
    class: String,
    /// How an after-trigger is to be run; the runtime has checked it.
    #[serde(default)]
    policy: Policy,
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidegate_event::{Backoff, Rate, TriggerKind};

    #[test]
    fn a_manifest_keeps_what_it_knows_and_warns_of_the_rest() {
        let json = r#"{"functions":["hello"],"jobs":[{"name":"a","options":{"retries":2}},{"name":"b"}],
            "schedules":[{"name":"s","options":{"every":"1m"},"job":"a"}],"workflows":[{"name":"w","graph":["a","b"]}],"extra":1,"triggers":[
            {"kind":"afterSave","class":"Order","policy":{"unordered":true,"original":false,"attempts":7,"timeoutMs":5,
             "backoff":{"initialMs":1,"factor":1.5,"maxMs":9},"concurrency":2,"rate":{"count":3,"perMs":4}}},
            {"kind":"afterDelete","class":"Order"},{"kind":"beforeConnect","class":"@Connect"}]}"#;
        let manifest = Manifest::from_json(json).unwrap();
        let order = Trigger::code(TriggerKind::AfterSave, "Order");
        assert!(
            manifest.has(&Handler::Function("hello".into()))
                && !manifest.has(&Handler::Job("hello".into()))
        );
        assert!(
            manifest.has(&Handler::Job("b".into())) && !manifest.has(&Handler::Job("s".into()))
        );
        assert_eq!(manifest.jobs[0].options, serde_json::json!({"retries": 2}));
        assert_eq!(manifest.jobs[1].options, serde_json::json!({}));
        assert_eq!(
            (&*manifest.schedules[0].job, &manifest.schedules[0].params),
            ("a", &serde_json::json!({}))
        );
        assert_eq!(manifest.workflows[0].graph, serde_json::json!(["a", "b"]));
        let policy = Policy {
            attempts: Some(7),
            backoff: Some(Backoff {
                initial_ms: 1,
                factor: 1.5,
                max_ms: 9,
            }),
            timeout_ms: Some(5),
            concurrency: Some(2),
            rate: Some(Rate {
                count: 3,
                per_ms: 4,
            }),
            unordered: true,
            unrecorded: false,
            original: false,
        };
        assert_eq!(manifest.triggers.policy(&order), policy);
        let deletion = Trigger::code(TriggerKind::AfterDelete, "Order");
        assert_eq!(manifest.triggers.policy(&deletion), Policy::default());
        assert!(manifest.has(&Handler::Trigger(order)));
        assert_eq!(
            manifest.warnings,
            ["beforeConnect on @Connect is registered but not supported yet"]
        );
        assert!(Manifest::from_json("[").is_err());
    }
}
