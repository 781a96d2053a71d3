//! `ripgrep` and `difftastic`: only arguments that are known to read nothing but the paths that
//! they name, and these are confined.
//!
//! Either program would otherwise read any file, and `rg --pre` would run any command, though
//! only a search was allowed.

use rustix::fs::OFlags;
use serde_json::{Value, json};
use tokio::process::Command;

use super::command::{Ended, How, directory, not_started, run as run_command, trouble};
use super::{Failure, Outcome, Shared, beneath, failed, received};

/// A program and the arguments that it may be given.
pub(super) struct Tool {
    program: &'static str,
    /// Options without a value.
    switches: &'static [&'static str],
    /// Options with a value, behind `=` or as the next argument.
    valued: &'static [&'static str],
    /// Options that make up for a pattern: with one of them all other arguments are paths.
    patterns: &'static [&'static str],
    /// Whether the first argument that is no option is a pattern.
    takes_pattern: bool,
    /// Options that are accepted and not passed on.
    ignored: &'static [&'static str],
    /// What goes before all else.
    prefix: &'static [&'static str],
}

pub(super) const RIPGREP: Tool = Tool {
    program: "rg",
    switches: &[
        "--json",
        "--files",
        "--files-with-matches",
        "--files-without-match",
        "-l",
        "--count",
        "-c",
        "--count-matches",
        "--hidden",
        "-.",
        "--no-hidden",
        "--no-ignore",
        "--no-ignore-vcs",
        "--ignore-case",
        "-i",
        "--smart-case",
        "-S",
        "--case-sensitive",
        "-s",
        "--fixed-strings",
        "-F",
        "--word-regexp",
        "-w",
        "--line-regexp",
        "-x",
        "--line-number",
        "-n",
        "--no-line-number",
        "-N",
        "--column",
        "--heading",
        "--no-heading",
        "--with-filename",
        "-H",
        "--no-filename",
        "-I",
        "--multiline",
        "-U",
        "--multiline-dotall",
        "--invert-match",
        "-v",
        "--only-matching",
        "-o",
        "--null",
        "-0",
        "--vimgrep",
        "--stats",
        "--trim",
        "--text",
        "-a",
        "--pcre2",
        "-P",
        "--version",
        "-V",
        "--type-list",
        "--no-messages",
        "--passthru",
        "--quiet",
        "-q",
        "--unrestricted",
        "-u",
        "-uu",
        "--pretty",
        "-p",
    ],
    valued: &[
        "--glob",
        "-g",
        "--iglob",
        "--type",
        "-t",
        "--type-not",
        "-T",
        "--max-count",
        "-m",
        "--max-depth",
        "-d",
        "--max-filesize",
        "--max-columns",
        "-M",
        "--context",
        "-C",
        "--after-context",
        "-A",
        "--before-context",
        "-B",
        "--color",
        "--sort",
        "--sortr",
        "--threads",
        "-j",
        "--encoding",
        "-E",
        "--replace",
        "-r",
        "--engine",
    ],
    patterns: &["--regexp", "-e"],
    takes_pattern: true,
    // The app asks for it; links lead out.
    ignored: &["--follow", "-L", "--no-follow"],
    prefix: &["--no-config", "--no-follow"],
};

pub(super) const DIFFTASTIC: Tool = Tool {
    program: "difft",
    switches: &[
        "--skip-unchanged",
        "--check-only",
        "--ignore-comments",
        "--strip-cr",
        "--version",
        "--list-languages",
        "--exit-code",
    ],
    valued: &[
        "--display",
        "--color",
        "--background",
        "--syntax-highlight",
        "--width",
        "--context",
        "--tab-width",
        "--byte-limit",
        "--graph-limit",
        "--parse-error-limit",
        "--sort-paths",
    ],
    patterns: &[],
    takes_pattern: false,
    ignored: &[],
    prefix: &[],
};

/// `{args, cwd?}`.
pub(super) async fn run(shared: &Shared, tool: &Tool, params: &Value) -> Outcome {
    let cwd = params.get("cwd").filter(|cwd| cwd.as_str() != Some(""));
    let below = match cwd {
        None | Some(Value::Null) => String::new(),
        Some(cwd) => shared.confined(cwd)?,
    };
    let directory = directory(shared, cwd)?;
    let arguments = tool.arguments(shared, &below, params.get("args").unwrap_or(&Value::Null))?;
    let mut command = Command::new(tool.program);
    command.args(tool.prefix).args(&arguments);
    command.env_remove("RIPGREP_CONFIG_PATH");
    let timeout = shared.limits.command_timeout;
    let ended = run_command(shared, command, &directory, timeout).await;
    let Ended {
        stdout,
        stderr,
        how,
    } = ended.map_err(|error| not_started(tool.program, &error))?;
    match (trouble(&how), how) {
        (None, How::Exited(status)) => Ok(json!({
            "success": true, "exitCode": status.code(), "stdout": stdout, "stderr": stderr,
        })),
        (trouble, _) => Err(failed(trouble.unwrap_or_default())),
    }
}

impl Tool {
    /// The arguments as they are passed on.
    fn arguments(
        &self,
        shared: &Shared,
        below: &str,
        wanted: &Value,
    ) -> Result<Vec<String>, Failure> {
        let wrong = |value: &Value| {
            let what = received(value);
            failed(format!(
                "The \"args\" argument must be an instance of Array of strings. Received {what}"
            ))
        };
        let wanted = wanted.as_array().ok_or_else(|| wrong(wanted))?;
        let texts: Result<Vec<&str>, _> = wanted
            .iter()
            .map(|value| value.as_str().ok_or_else(|| wrong(value)))
            .collect();
        let (mut options, mut rest) = (Vec::new(), Vec::new());
        let mut has_pattern = !self.takes_pattern;
        let mut texts = texts?.into_iter();
        while let Some(text) = texts.next() {
            let (name, value) = match text.split_once('=') {
                Some((name, value)) if name.starts_with("--") => (name, Some(value)),
                _ => (text, None),
            };
            if text == "--" {
                rest.extend(texts.by_ref());
            } else if self.ignored.contains(&text) {
            } else if self.switches.contains(&text) {
                has_pattern |= matches!(text, "--files" | "--type-list");
                options.push(text.to_owned());
            } else if self.valued.contains(&name) || self.patterns.contains(&name) {
                has_pattern |= self.patterns.contains(&name);
                let value = value.or_else(|| texts.next());
                let value = value.ok_or_else(|| failed(format!("{name} has no value")))?;
                options.extend([name.to_owned(), value.to_owned()]);
            } else if text.starts_with('-') && text != "-" {
                return Err(failed(format!(
                    "Access denied: the argument '{text}' is not allowed"
                )));
            } else {
                rest.push(text);
            }
        }
        options.push("--".to_owned());
        for text in rest {
            if has_pattern {
                options.push(confined(shared, below, text)?);
            } else {
                has_pattern = true;
                options.push(text.to_owned());
            }
        }
        Ok(options)
    }
}

/// A path that is named, relative to the directory that the program runs in.
fn confined(shared: &Shared, below: &str, path: &str) -> Result<String, Failure> {
    let base = format!("{}/{below}", shared.path.trim_end_matches('/'));
    let from_root = if path.starts_with('/') {
        path.to_owned()
    } else {
        format!("{base}/{path}")
    };
    let inside = hallway_core::relay::path::confine(&shared.path, &from_root).map_err(|_| {
        failed(format!(
            "Access denied: Path '{path}' is outside the working directory"
        ))
    })?;
    // It leads nowhere else; what is not there is for the program to say.
    match beneath::open(&shared.dir, &inside, OFlags::RDONLY) {
        Err(beneath::Error::Link) => return Err(Shared::told(beneath::Error::Link, "open", path)),
        Ok(_) | Err(beneath::Error::System(_)) => {}
    }
    let up = below
        .split('/')
        .filter(|name| !name.is_empty())
        .map(|_| "../");
    let relative = format!("{}{inside}", up.collect::<String>());
    Ok(format!("./{relative}"))
}
