//! `tidegate dev --check`: runs the commands that a newcomer is told to try, and looks at their answers.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use tokio::process::Command;

use crate::config::{Config, TryCommand};

/// How long a command that may be repeated has to print what it should.
const PATIENCE: Duration = Duration::from_secs(15);

#[allow(clippy::print_stdout)] // the subcommand's data
pub async fn run(config: &Config) -> Result<()> {
    if config.try_commands.is_empty() {
        bail!("this project has no [[try]] commands in tidegate.toml to check");
    }
    let mut failed = Vec::new();
    for command in &config.try_commands {
        let filled_in = filled_in(config, &command.command);
        println!("# {}\n$ {filled_in}", command.title);
        let output = output_of(command, &filled_in).await?;
        println!("{}\n", output.trim_end());
        if !output.contains(&command.expect) {
            failed.push(format!(
                "{:?} should have printed {:?}",
                command.title, command.expect
            ));
        }
    }
    match failed.is_empty() {
        true => Ok(()),
        false => bail!("{}", failed.join("; ")),
    }
}

async fn output_of(command: &TryCommand, filled_in: &str) -> Result<String> {
    let begun = Instant::now();
    loop {
        let output = Command::new("sh")
            .arg("-c")
            .arg(filled_in)
            .kill_on_drop(true)
            .output()
            .await?;
        let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.push_str(&String::from_utf8_lossy(&output.stderr));
        if !command.repeat || text.contains(&command.expect) || begun.elapsed() > PATIENCE {
            return Ok(text);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// The command with `$URL`, `$APP_ID`, `$MASTER_KEY` and `$DATABASE_URL` in place, so that it can be pasted anywhere.
pub fn filled_in(config: &Config, command: &str) -> String {
    command
        .replace("$URL", &config.public_url())
        .replace("$APP_ID", &config.app_id)
        .replace("$MASTER_KEY", config.master_key.expose())
        .replace("$DATABASE_URL", config.database_url.expose())
}
