//! `ripgrep` and `difftastic`.

use hallway_core::relay::rpc::{Invocation, Place};
use rustix::fs::OFlags;
use serde_json::json;
use tokio::process::Command;

use super::command::{Ended, How, directory, not_started, run as run_command, trouble};
use super::{Failure, Outcome, Shared, beneath, failed};

pub(super) async fn run(shared: &Shared, invocation: &Invocation) -> Outcome {
    let program = invocation.program;
    let directory = directory(shared, &invocation.directory)?;
    let mut command = Command::new(program);
    command.args(&invocation.options).arg("--");
    command.args(&invocation.pattern);
    for path in &invocation.paths {
        command.arg(confined(shared, invocation.directory.below(), path)?);
    }
    command.env_remove("RIPGREP_CONFIG_PATH");
    let timeout = shared.limits.command_timeout;
    let ended = run_command(shared, command, &directory, timeout).await;
    let Ended {
        stdout,
        stderr,
        how,
    } = ended.map_err(|error| not_started(program, &error))?;
    match (trouble(&how), how) {
        (None, How::Exited(status)) => Ok(json!({
            "success": true, "exitCode": status.code(), "stdout": stdout, "stderr": stderr,
        })),
        (trouble, _) => Err(failed(trouble.unwrap_or_default())),
    }
}

/// A path that is named, relative to the directory that the program runs in.
fn confined(shared: &Shared, below: &str, path: &Place) -> Result<String, Failure> {
    // It leads nowhere else; what is not there is for the program to say.
    match beneath::open(&shared.dir, path.below(), OFlags::RDONLY) {
        Err(beneath::Error::Link) => return Err(Shared::told(beneath::Error::Link, "open", path)),
        Ok(_) | Err(beneath::Error::System(_)) => {}
    }
    let up = below
        .split('/')
        .filter(|name| !name.is_empty())
        .map(|_| "../");
    Ok(format!("./{}{}", up.collect::<String>(), path.below()))
}
