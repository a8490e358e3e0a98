//! Loads the project's cloud code, and again when it changes.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use notify::{RecursiveMode, Watcher};
use tidegate_cloud_code::CloudCode;
use tidegate_event::{Policy, Trigger, TriggerKind, TriggerSet};
use tidegate_job_log::JobLog;
use tidegate_job_log::schedule::{NewSchedule, Source};
use tidegate_storage::Hook;
use tidegate_worker::{Webhook, Webhooks};
use tidegate_write_path::WritePath;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::config::{Config, PARSE_HOOKS, schedules_in};
use crate::registration::Registration;

/// How long a folder must be quiet before its code is loaded: editors write several files at once.
const QUIET: Duration = Duration::from_millis(80);

/// How soon a webhook that was set through the API is known to every process.
const HOOKS_INTERVAL: Duration = Duration::from_millis(500);

/// How soon a change of the `[[schedules]]` in `tidegate.toml` is noticed.
const SCHEDULES_INTERVAL: Duration = Duration::from_millis(500);

/// The code that this process serves, and whom to tell when it is another.
pub struct Releases {
    config: Config,
    write_path: Arc<WritePath>,
    jobs: JobLog,
    /// The `[[schedules]]` as they were last read.
    schedules: Mutex<Vec<NewSchedule>>,
    triggers: watch::Sender<TriggerSet>,
    webhooks: watch::Sender<Webhooks>,
}

impl Releases {
    /// Loads the project for the first time.
    ///
    /// # Errors
    /// A bundle that does not build, a `main.js` that throws: the message says where.
    pub async fn load(
        config: &Config,
        write_path: &Arc<WritePath>,
        jobs: &JobLog,
    ) -> Result<Releases> {
        let releases = Releases {
            config: config.clone(),
            write_path: Arc::clone(write_path),
            jobs: jobs.clone(),
            schedules: Mutex::new(config.schedules.clone()),
            triggers: watch::channel(TriggerSet::default()).0,
            webhooks: watch::channel(Webhooks::new()).0,
        };
        releases.look_for_hooks().await?;
        releases.reload().await?;
        Ok(releases)
    }

    pub fn triggers(&self) -> watch::Receiver<TriggerSet> {
        self.triggers.subscribe()
    }

    /// Bundles and loads the project as it is now, and serves it instead of what was served before.
    pub async fn reload(&self) -> Result<()> {
        let project = &self.config.project;
        let bundle = tidegate_cloud_code::bundle(project)
            .await
            .with_context(|| format!("cannot bundle the cloud code of {}", project.display()))?;
        if self
            .write_path
            .code()
            .is_some_and(|code| code.id() == bundle.id)
        {
            return Ok(());
        }
        let loaded = CloudCode::load(&self.code_config()?, bundle, self.write_path.host()).await;
        let code = loaded.map_err(with_stack)?;
        let manifest = code.manifest();
        tracing::info!(
            release = code.id(),
            functions = manifest.functions.len(),
            triggers = code.triggers().iter().count(),
            jobs = manifest.jobs.len(),
            schedules = manifest.schedules.len() + self.schedules().len(),
            "loaded the cloud code"
        );
        check_that_all_runs(&code, self.config.ignore_unsupported_triggers)?;
        let registration = Registration::read(manifest)?;
        // A process without a project says nothing of what there is to run: it must not take away what others have.
        if self.has_code() {
            registration
                .announce(&self.jobs, code.id(), &self.schedules())
                .await
                .context("cannot register the jobs and schedules")?;
        }
        let replaced = self.write_path.replace_code(code);
        self.publish_triggers();
        if let Some(replaced) = replaced {
            // Requests that still run on it end by themselves.
            tokio::spawn(async move { replaced.close().await });
        }
        Ok(())
    }

    fn has_code(&self) -> bool {
        self.config.project.join("cloud").is_dir()
    }

    fn schedules(&self) -> Vec<NewSchedule> {
        let schedules = self.schedules.lock();
        schedules.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Follows the `[[schedules]]` of `tidegate.toml`: a change takes effect without a restart. What cannot be read is
    /// reported once, and what was there before goes on.
    pub async fn follow_schedules(&self, shutdown: CancellationToken) {
        let mut reported = None;
        loop {
            tokio::select! {
                () = tokio::time::sleep(SCHEDULES_INTERVAL) => {}
                () = shutdown.cancelled() => return,
            }
            let outcome = match schedules_in(&self.config.project) {
                Ok(found) if found == self.schedules() || !self.has_code() => Ok(()),
                Ok(found) => self.replace_schedules(found).await,
                Err(error) => Err(format!("{error:#}")),
            };
            if let Err(error) = &outcome
                && reported.as_ref() != Some(error)
            {
                tracing::error!("the changed schedules of tidegate.toml are not used: {error}");
            }
            reported = outcome.err();
        }
    }

    async fn replace_schedules(&self, schedules: Vec<NewSchedule>) -> Result<(), String> {
        let replaced = self.jobs.replace_schedules(Source::Config, &schedules);
        replaced
            .await
            .map_err(|error| tidegate_event::report::chain(&error))?;
        tracing::info!(
            schedules = schedules.len(),
            "took over the schedules of tidegate.toml"
        );
        *self
            .schedules
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = schedules;
        Ok(())
    }

    /// Tells everybody which triggers there are: those of the code, and webhooks.
    fn publish_triggers(&self) {
        let code = self.write_path.code();
        // One at a time: the last to be published is the newest.
        self.triggers.send_if_modified(|published| {
            let mut triggers = code
                .as_ref()
                .map_or_else(TriggerSet::default, |code| code.triggers().clone());
            triggers.capture(self.config.always_captured().cloned());
            for (trigger, webhook) in self.webhooks.borrow().iter() {
                triggers.insert(trigger.clone(), webhook.policy.clone());
            }
            self.write_path.replace_triggers(triggers.clone());
            let is_new = *published != triggers;
            *published = triggers;
            is_new
        });
    }

    pub fn webhooks(&self) -> watch::Receiver<Webhooks> {
        self.webhooks.subscribe()
    }

    /// Follows what is set through Parse's hooks API, in whichever process.
    pub async fn follow_hooks(&self, shutdown: CancellationToken) {
        loop {
            tokio::select! {
                () = tokio::time::sleep(HOOKS_INTERVAL) => {}
                () = shutdown.cancelled() => return,
            }
            match self.look_for_hooks().await {
                Ok(false) => {}
                Ok(true) => self.publish_triggers(),
                Err(error) => tracing::debug!("cannot look for webhooks: {error:#}"),
            }
        }
    }

    /// Takes in the webhooks as they are now; answers whether they are others than before.
    async fn look_for_hooks(&self) -> Result<bool> {
        let stored = self.write_path.storage().hooks().await?;
        let mut webhooks = self.config.webhooks.clone();
        webhooks.extend(stored.iter().filter_map(webhook));
        Ok(self.webhooks.send_if_modified(|known| {
            let is_new = *known != webhooks;
            *known = webhooks;
            is_new
        }))
    }

    fn code_config(&self) -> Result<tidegate_cloud_code::Config> {
        let config = &self.config;
        // By this name it is found also when it was replaced by an upgrade while it runs.
        let executable = PathBuf::from("/proc/self/exe");
        Ok(tidegate_cloud_code::Config {
            isolates: config.isolates,
            memory_limit_bytes: config.isolate_memory_bytes,
            max_in_flight: config.isolate_in_flight,
            egress: config.egress.clone(),
            server_url: config.public_url(),
            application_id: config.app_id.clone(),
            javascript_key: config
                .javascript_key
                .as_ref()
                .map(|key| key.expose().to_owned()),
            ..tidegate_cloud_code::Config::new(executable)
        })
    }

    /// Loads the project again whenever a file of `cloud/` changes. Code that does not load is reported, and what was
    /// served before is served on.
    pub async fn watch(&self, shutdown: CancellationToken) -> Result<()> {
        let (sender, mut changes) = mpsc::channel(1);
        let mut watcher =
            notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
                if event.is_ok_and(|event| changes_code(&event)) {
                    let _ = sender.try_send(());
                }
            })?;
        let cloud = self.config.project.join("cloud");
        if !cloud.is_dir() {
            shutdown.cancelled().await;
            return Ok(());
        }
        watcher.watch(&cloud, RecursiveMode::Recursive)?;
        loop {
            tokio::select! {
                _ = changes.recv() => {}
                () = shutdown.cancelled() => return Ok(()),
            }
            while tokio::time::timeout(QUIET, changes.recv()).await.is_ok() {}
            let begun = std::time::Instant::now();
            match self.reload().await {
                Ok(()) => {
                    tracing::info!(duration_ms = begun.elapsed().as_millis() as u64, "reloaded")
                }
                Err(error) => tracing::error!("the changed code is not served: {error:#}"),
            }
        }
    }

    /// Ends the code's processes.
    pub async fn close(&self) {
        if let Some(code) = self.write_path.code() {
            code.close().await;
        }
    }
}

/// A row of Parse's `_Hooks`; None for a kind that is not run (the API takes none, Parse Server may have left some).
fn webhook(hook: &Hook) -> Option<(Trigger, Webhook)> {
    let kind = TriggerKind::ALL
        .into_iter()
        .find(|kind| kind.as_str() == hook.trigger);
    let trigger = Trigger {
        webhook: Some(PARSE_HOOKS.to_owned()),
        ..Trigger::code(kind.filter(|kind| kind.is_after_commit())?, &hook.class)
    };
    let webhook = Webhook {
        url: hook.url.clone(),
        secret: None,
        policy: Policy::default(),
    };
    Some((trigger, webhook))
}

/// The place where main threw belongs to what its author is told.
fn with_stack(error: tidegate_cloud_code::Error) -> anyhow::Error {
    match &error {
        tidegate_cloud_code::Error::Load {
            message,
            stack: Some(stack),
        } => {
            let frames = stack
                .trim_start()
                .strip_prefix(message.as_str())
                .unwrap_or(stack);
            anyhow::anyhow!("{error}\n{}", frames.trim_start_matches('\n'))
        }
        _ => error.into(),
    }
}

fn changes_code(event: &notify::Event) -> bool {
    let is_code = |path: &Path| {
        !path
            .components()
            .any(|part| part.as_os_str() == "node_modules")
    };
    !event.kind.is_access() && event.paths.iter().any(|path| is_code(path))
}

/// A handler that is accepted and never runs would be a lie by silence; one that guards data, an open door.
fn check_that_all_runs(code: &CloudCode, ignore: bool) -> Result<()> {
    use TriggerKind::{AfterDelete, AfterSave, BeforeDelete, BeforeSave};
    let runs = [BeforeSave, AfterSave, BeforeDelete, AfterDelete];
    let unsupported: Vec<String> = code
        .triggers()
        .iter()
        .filter(|trigger| !runs.contains(&trigger.kind))
        .map(ToString::to_string)
        .collect();
    if !unsupported.is_empty() {
        let names = unsupported.join(", ");
        anyhow::ensure!(
            ignore,
            "this version of Tidegate does not run {names}. Code that relies on them to guard data must not be served; \
             if yours does not, set unsupported_triggers = \"ignore\""
        );
        tracing::warn!(
            triggers = names,
            "this version of Tidegate does not run these triggers"
        );
    }
    Ok(())
}
