//! `ripgrep` and `difftastic`: what they are given is held open before, and they are confined to
//! it, so that they read nothing by a name that leads elsewhere by then.

use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use hallway_core::relay::rpc::{Invocation, Place};
use rustix::fs::{self as sys, Access, FileType, OFlags};
use serde_json::json;
use tokio::process::Command;

use super::command::{Ended, How, Work, by_handle, directory, not_started, trouble};
use super::confine::Confinement;
use super::{Failure, NO_LANDLOCK, Outcome, Shared, beneath, failed};

/// What a tool sees of the environment: nothing that names files or options to it.
const ENVIRONMENT: [&str; 6] = ["PATH", "LANG", "LC_ALL", "LC_CTYPE", "TERM", "TMPDIR"];

pub(super) async fn run(shared: &Shared, invocation: &Invocation) -> Outcome {
    if !shared.confines {
        let error = std::io::Error::new(std::io::ErrorKind::Unsupported, NO_LANDLOCK);
        return Err(not_started(invocation.program, &error));
    }
    let directory = directory(shared, &invocation.directory)?;
    let held = invocation.paths.iter().map(|path| hold(shared, path));
    let held = held.collect::<Result<Vec<_>, _>>()?;
    let program = find(&shared.programs, invocation.program)
        .ok_or_else(|| failed(format!("spawn {} ENOENT", invocation.program)))?;
    let mut command = Command::new(&program);
    command.env_clear();
    let environment = ENVIRONMENT.map(|name| (name, std::env::var_os(name)));
    command.envs(
        environment
            .into_iter()
            .filter_map(|(name, value)| Some((name, value?))),
    );
    command.args(&invocation.options).arg("--");
    command.args(&invocation.pattern);
    let mut names = Names::new(invocation);
    for (fd, place) in held.iter().zip(&invocation.paths) {
        let path = by_handle(fd).map_err(|error| not_started(invocation.program, &error))?;
        command.arg(&path);
        names.add(&path, place);
    }
    // Who is given no path reads where it is.
    let here = held.is_empty().then_some(&directory);
    let confinement = Confinement::new(&program, held.iter().chain(here))
        .map_err(|error| not_started(invocation.program, &error))?;
    let work = Work {
        command,
        directory,
        held,
        confinement: Some(confinement),
        timeout: shared.limits.command_timeout,
    };
    let ended = work.run(shared).await;
    let Ended {
        stdout,
        stderr,
        how,
    } = ended.map_err(|error| not_started(invocation.program, &error))?;
    match (trouble(&how), how) {
        (None, How::Exited(status)) => Ok(json!({
            "success": true, "exitCode": status.code(),
            "stdout": names.put_back(stdout), "stderr": names.put_back(stderr),
        })),
        (trouble, _) => Err(failed(trouble.unwrap_or_default())),
    }
}

/// The directories of `path` that are the same wherever one is.
pub(super) fn programs(path: &OsStr) -> Vec<PathBuf> {
    let all = std::env::split_paths(path);
    all.filter(|directory| directory.is_absolute()).collect()
}

/// The program of this name. It is looked for here, as the child is where the app wants it.
fn find(programs: &[PathBuf], name: &str) -> Option<PathBuf> {
    let mut candidates = programs.iter().map(|directory| directory.join(name));
    candidates.find(|path| path.is_file() && sys::access(path, Access::EXEC_OK).is_ok())
}

/// Opens what the app names: a file or a directory, without a link on the way.
fn hold(shared: &Shared, path: &Place) -> Result<OwnedFd, Failure> {
    let told = |error| Shared::told(error, "open", path);
    let fd = beneath::open(&shared.dir, path.below(), OFlags::RDONLY).map_err(told)?;
    let stat = sys::fstat(&fd).map_err(|error| told(error.into()))?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile | FileType::Directory => Ok(fd),
        FileType::Symlink
        | FileType::Fifo
        | FileType::Socket
        | FileType::CharacterDevice
        | FileType::BlockDevice
        | FileType::Unknown => Err(failed(format!(
            "Access denied: Path '{}' is no regular file",
            path.named()
        ))),
    }
}

/// What the handles that a tool was given are called by the app.
struct Names {
    /// The path of a handle, and the name in its place.
    names: Vec<(String, String)>,
    is_json: bool,
}

impl Names {
    fn new(invocation: &Invocation) -> Self {
        let is_json = invocation.options.iter().any(|option| option == "--json");
        let names = Vec::new();
        Self { names, is_json }
    }

    fn add(&mut self, path: &Path, place: &Place) {
        let name = match place.named().trim_end_matches('/') {
            "" => ".",
            name => name,
        };
        let mut name = name.to_owned();
        if self.is_json {
            name = json!(name).to_string();
            // Without its quotes.
            name.pop();
            name.remove(0);
        }
        self.names.push((path.to_string_lossy().into_owned(), name));
    }

    /// The output with the app's names. The handles' paths are spelled as nobody does.
    fn put_back(&self, output: String) -> String {
        self.names.iter().fold(output, |output, (path, name)| {
            let mut parts = output.split(path.as_str());
            let mut out = parts.next().unwrap_or_default().to_owned();
            for part in parts {
                // Another handle's number begins like this one's.
                let is_longer = part.starts_with(|c: char| c.is_ascii_digit());
                out.push_str(if is_longer { path } else { name });
                out.push_str(part);
            }
            out
        })
    }
}
