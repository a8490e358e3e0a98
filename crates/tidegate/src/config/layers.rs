//! Finds each setting's value, and remembers where it came from.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Context, Result};

use super::table::{OTHER_VARIABLES, SETTINGS, Setting, TryCommand};
use crate::cli::{Settings, UsageError};

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    Flag,
    Environment(String),
    File(PathBuf),
    Default,
    /// Chosen by `tidegate dev` for its own services.
    Dev,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Flag => f.write_str("the command line"),
            Origin::Environment(variable) => f.write_str(variable),
            Origin::File(path) => write!(f, "{}", path.display()),
            Origin::Default => f.write_str("the default"),
            Origin::Dev => f.write_str("tidegate dev"),
        }
    }
}

/// Of a project; the later goes before the earlier.
const FILES: [&str; 2] = ["tidegate.toml", "tidegate.local.toml"];

/// Every setting that has a value.
#[derive(Clone, Debug, Default)]
pub struct Layers {
    values: BTreeMap<&'static str, (String, Origin)>,
    try_commands: Vec<toml::Table>,
    schedules: Vec<toml::Table>,
    sinks: Vec<toml::Table>,
    webhooks: Vec<toml::Table>,
}

impl Layers {
    pub fn read(flags: &Settings, project: Option<&Path>) -> Result<Layers> {
        let mut layers = Layers::default();
        for setting in SETTINGS {
            if let Some(default) = setting.default {
                layers
                    .values
                    .insert(setting.name, (default.to_owned(), Origin::Default));
            }
        }
        let environment = from_environment(std::env::vars())?;
        let given = from_flags(flags)?;
        let named = given
            .iter()
            .chain(&environment)
            .find(|(name, ..)| *name == "project");
        let project = match (project, named) {
            (Some(project), _) => project.to_owned(),
            (None, Some((_, value, _))) => PathBuf::from(value),
            (None, None) => PathBuf::from("."),
        };
        for file in FILES {
            layers.read_file(&project.join(file))?;
        }
        for (name, value, origin) in environment.into_iter().chain(given) {
            layers.values.insert(name, (value, origin));
        }
        layers.values.insert(
            "project",
            (project.to_string_lossy().into_owned(), Origin::Flag),
        );
        Ok(layers)
    }

    /// What the files of a project say, and nothing else.
    pub fn of_files(project: &Path) -> Result<Layers> {
        let mut layers = Layers::default();
        for file in FILES {
            layers.read_file(&project.join(file))?;
        }
        Ok(layers)
    }

    fn read_file(&mut self, path: &Path) -> Result<()> {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(error) => {
                return Err(error).with_context(|| format!("cannot read {}", path.display()));
            }
        };
        let table: toml::Table = text
            .parse()
            .map_err(|error| UsageError(format!("{} is not TOML: {error}", path.display())))?;
        for (name, value) in table {
            let list = match name.as_str() {
                "try" => Some(&mut self.try_commands),
                "schedules" => Some(&mut self.schedules),
                "sinks" => Some(&mut self.sinks),
                "webhooks" => Some(&mut self.webhooks),
                _ => None,
            };
            if let Some(list) = list {
                *list = tables(&name, value, path)?;
                continue;
            }
            let setting = known(&name, &path.display().to_string())?;
            self.values
                .insert(setting.name, (plain(value), Origin::File(path.to_owned())));
        }
        Ok(())
    }

    /// Sets what nobody else has set: the URLs of services that `tidegate dev` starts, for example.
    pub fn set_unless_chosen(&mut self, name: &'static str, value: String) {
        if !self.is_chosen(name) {
            self.values.insert(name, (value, Origin::Dev));
        }
    }

    pub fn is_chosen(&self, name: &str) -> bool {
        self.values
            .get(name)
            .is_some_and(|(_, origin)| *origin != Origin::Default)
    }

    pub fn optional(&self, name: &str) -> Option<String> {
        self.values
            .get(name)
            .map(|(value, _)| value.clone())
            .filter(|value| !value.is_empty())
    }

    pub fn required(&self, name: &str) -> Result<String> {
        if let Some((value, _)) = self.values.get(name) {
            return Ok(value.clone());
        }
        let setting = SETTINGS.iter().find(|setting| setting.name == name);
        let variable = setting.map_or_else(String::new, |setting| {
            setting
                .aliases
                .first()
                .map_or_else(|| variable_of(setting), |alias| (*alias).to_owned())
        });
        let meaning = setting.map_or("", |setting| setting.meaning);
        Err(UsageError(format!(
            "{name} ({meaning}) is not set: set {variable}, or {name} in tidegate.toml"
        ))
        .into())
    }

    pub fn parsed<T: FromStr>(&self, name: &str, expected: &str) -> Result<T> {
        let value = self.required(name)?;
        value
            .trim()
            .parse()
            .map_err(|_| self.refuse(name, expected).into())
    }

    pub fn number<T: FromStr>(&self, name: &str) -> Result<T> {
        self.parsed(name, "a whole number")
    }

    pub fn flag(&self, name: &str) -> Result<bool> {
        self.parsed(name, "true or false")
    }

    pub fn list(&self, name: &str) -> Vec<String> {
        let text = self.optional(name).unwrap_or_default();
        text.split(',')
            .map(str::trim)
            .filter(|item| !item.is_empty())
            .map(str::to_owned)
            .collect()
    }

    pub fn refuse(&self, name: &str, expected: &str) -> UsageError {
        let origin = self
            .values
            .get(name)
            .map_or(Origin::Default, |(_, origin)| origin.clone());
        UsageError::setting(name, &origin, expected)
    }

    /// (name, value or a mask, origin) of every setting.
    pub fn effective(&self) -> Vec<(&'static str, String, String)> {
        let row = |setting: &Setting| {
            let (value, origin) = self.values.get(setting.name)?;
            let value = if setting.secret {
                "(set)".to_owned()
            } else {
                format!("{value:?}")
            };
            Some((setting.name, value, origin.to_string()))
        };
        SETTINGS.iter().filter_map(row).collect()
    }

    /// The `[[webhooks]]`, as they are written.
    pub fn webhooks(&self) -> &[toml::Table] {
        &self.webhooks
    }

    /// The `[[schedules]]`, as they are written.
    pub fn schedules(&self) -> &[toml::Table] {
        &self.schedules
    }

    /// The `[[sinks]]`, as they are written.
    pub fn sinks(&self) -> &[toml::Table] {
        &self.sinks
    }

    pub fn try_commands(&self) -> Result<Vec<TryCommand>> {
        let text = |table: &toml::Table, key: &str| {
            table
                .get(key)
                .and_then(toml::Value::as_str)
                .map(str::to_owned)
        };
        let command = |table: &toml::Table| {
            let missing = || UsageError("each [[try]] needs title, command and expect".into());
            Ok(TryCommand {
                title: text(table, "title").ok_or_else(missing)?,
                command: text(table, "command").ok_or_else(missing)?,
                expect: text(table, "expect").ok_or_else(missing)?,
                repeat: table
                    .get("repeat")
                    .and_then(toml::Value::as_bool)
                    .unwrap_or(false),
            })
        };
        self.try_commands.iter().map(command).collect()
    }
}

type Given = Vec<(&'static str, String, Origin)>;

fn from_flags(flags: &Settings) -> Result<Given> {
    let mut given = Vec::new();
    let named = [
        ("listen", &flags.listen),
        ("database_url", &flags.database_url),
        ("redis_url", &flags.redis_url),
    ];
    for (name, value) in named {
        given.extend(value.clone().map(|value| (name, value, Origin::Flag)));
    }
    for pair in &flags.set {
        let (name, value) = pair
            .split_once('=')
            .ok_or_else(|| UsageError(format!("--set {pair}: expected NAME=VALUE")))?;
        given.push((known(name, "--set")?.name, value.to_owned(), Origin::Flag));
    }
    Ok(given)
}

/// The settings among the variables. Of two names for one setting, Tidegate's own goes first.
fn from_environment(variables: impl Iterator<Item = (String, String)>) -> Result<Given> {
    let mut given = Vec::new();
    for (variable, value) in variables {
        if let Some(name) = variable.strip_prefix("TIDEGATE_") {
            if OTHER_VARIABLES.contains(&variable.as_str()) {
                continue;
            }
            let setting = known(&name.to_ascii_lowercase(), &variable)?;
            given.push((setting.name, value, Origin::Environment(variable)));
        } else if let Some(setting) = SETTINGS
            .iter()
            .find(|setting| setting.aliases.contains(&variable.as_str()))
        {
            given.insert(0, (setting.name, value, Origin::Environment(variable)));
        }
    }
    Ok(given)
}

fn known(name: &str, from: &str) -> Result<&'static Setting> {
    if let Some(setting) = SETTINGS.iter().find(|setting| setting.name == name) {
        return Ok(setting);
    }
    let nearest = SETTINGS
        .iter()
        .min_by_key(|setting| distance(setting.name, name));
    let suggestion = nearest
        .filter(|setting| distance(setting.name, name) <= 1 + name.len() / 3)
        .map_or_else(String::new, |setting| {
            format!(": did you mean {}?", setting.name)
        });
    Err(UsageError(format!(
        "there is no setting {name} (from {from}){suggestion}"
    ))
    .into())
}

/// Levenshtein distance.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, to) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

fn variable_of(setting: &Setting) -> String {
    format!("TIDEGATE_{}", setting.name.to_ascii_uppercase())
}

fn plain(value: toml::Value) -> String {
    match value {
        toml::Value::String(text) => text,
        toml::Value::Array(items) => items.into_iter().map(plain).collect::<Vec<_>>().join(","),
        other => other.to_string(),
    }
}

fn tables(name: &str, value: toml::Value, path: &Path) -> Result<Vec<toml::Table>> {
    let table = |item: &toml::Value| item.as_table().cloned();
    let tables = value
        .as_array()
        .and_then(|items| items.iter().map(table).collect());
    let file = path.display();
    tables
        .ok_or_else(|| UsageError(format!("{name} in {file} must be written as [[{name}]]")).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(variables: &[(&str, &str)]) -> Result<Given> {
        from_environment(
            variables
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned())),
        )
    }

    #[test]
    fn an_unknown_name_is_refused_with_the_nearest_known_one() {
        let refusal = |name| known(name, "tidegate.toml").err().unwrap().to_string();
        assert_eq!(
            refusal("trigger_timeout"),
            "there is no setting trigger_timeout (from tidegate.toml): did you mean trigger_timeout_ms?"
        );
        assert_eq!(
            refusal("zzzzzz"),
            "there is no setting zzzzzz (from tidegate.toml)"
        );
        assert!(environment(&[("TIDEGATE_LISTN", "x")]).is_err());
        assert!(
            environment(&[("TIDEGATE_PG_BIN", "/usr/bin")])
                .unwrap()
                .is_empty()
        );
    }

    #[test]
    fn names_of_parse_server_are_accepted_and_ours_go_first() {
        let given = environment(&[
            ("TIDEGATE_APP_ID", "ours"),
            ("PARSE_SERVER_APPLICATION_ID", "theirs"),
            ("DATABASE_URL", "postgres://x"),
            ("HOME", "/root"),
        ])
        .unwrap();
        let last = |name| {
            given
                .iter()
                .rev()
                .find(|(known, ..)| *known == name)
                .map(|(_, value, _)| value.as_str())
        };
        assert_eq!(last("app_id"), Some("ours"));
        assert_eq!(last("database_url"), Some("postgres://x"));
    }

    #[test]
    fn flags_go_before_files_and_files_before_defaults() {
        let folder = std::env::temp_dir().join(format!("tidegate-layers-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(
            folder.join("tidegate.toml"),
            "lanes = 8\nisolates = 3\nwait = false\n",
        )
        .unwrap();
        std::fs::write(folder.join("tidegate.local.toml"), "isolates = 5\n").unwrap();
        let flags = Settings {
            set: vec!["lanes=16".into()],
            ..Settings::default()
        };
        let layers = Layers::read(&flags, Some(&folder)).unwrap();
        std::fs::remove_dir_all(&folder).unwrap();
        assert_eq!(layers.number::<u16>("lanes").unwrap(), 16);
        assert_eq!(layers.number::<u16>("isolates").unwrap(), 5);
        assert!(!layers.flag("wait").unwrap());
        assert_eq!(layers.number::<u64>("function_timeout_ms").unwrap(), 60_000);
        assert!(!layers.is_chosen("function_timeout_ms"));
    }
}
