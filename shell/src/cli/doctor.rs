//! `hallway doctor`
use super::args::Doctor;
use super::error::{Exit, Failed};
use super::output::Output;
use crate::home::Home;
use std::process::ExitCode;

pub(super) async fn run(
    _arguments: &Doctor,
    _home: &Home,
    _output: &Output,
) -> Result<ExitCode, Failed> {
    Ok(Exit::Done.into())
}
