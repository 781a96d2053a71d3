//! `hallway completions`: a completion script for a shell.

use std::process::ExitCode;

use clap::CommandFactory as _;

use super::args::{Arguments, Completions};
use super::error::{Exit, Failed};
use super::output::print_all;

pub(super) fn run(arguments: &Completions) -> Result<ExitCode, Failed> {
    let mut script = Vec::new();
    clap_complete::generate(
        arguments.shell,
        &mut Arguments::command(),
        "hallway",
        &mut script,
    );
    print_all(&script)?;
    Ok(Exit::Done.into())
}
