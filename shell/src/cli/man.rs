//! `hallway man`: the manual page, with every verb.

use std::process::ExitCode;

use clap::{Command, CommandFactory as _};
use clap_mangen::Man;

use super::args::Arguments;
use super::error::{Exit, Failed};
use super::output::print_all;

pub(super) fn run() -> Result<ExitCode, Failed> {
    let page = page().map_err(|error| {
        Failed::new(
            Exit::Failed,
            format!("the page cannot be made; {error}; report this"),
        )
    })?;
    print_all(&page)?;
    Ok(Exit::Done.into())
}

/// One page: the command's own sections, and one section with the options of each verb.
fn page() -> std::io::Result<Vec<u8>> {
    let mut command = Arguments::command();
    command.build();
    let mut out = Vec::new();
    let man = Man::new(command.clone());
    man.render_title(&mut out)?;
    man.render_name_section(&mut out)?;
    man.render_synopsis_section(&mut out)?;
    man.render_description_section(&mut out)?;
    man.render_options_section(&mut out)?;
    man.render_subcommands_section(&mut out)?;
    for verb in command.get_subcommands() {
        verb_section(verb, &mut out)?;
    }
    man.render_extra_section(&mut out)?;
    man.render_version_section(&mut out)?;
    Ok(in_ascii(&out))
}

/// The page for formatters that know no UTF-8: other characters by their numbers.
fn in_ascii(page: &[u8]) -> Vec<u8> {
    let mut out = String::new();
    for c in String::from_utf8_lossy(page).chars() {
        if c.is_ascii() {
            out.push(c);
        } else {
            out.push_str(&format!("\\[u{:04X}]", u32::from(c)));
        }
    }
    out.into_bytes()
}

fn verb_section(verb: &Command, out: &mut Vec<u8>) -> std::io::Result<()> {
    let name = verb.get_name().to_uppercase();
    out.extend_from_slice(format!(".SH \"HALLWAY {name}\"\n").as_bytes());
    let man = Man::new(verb.clone());
    let mut sections = Vec::new();
    man.render_synopsis_section(&mut sections)?;
    man.render_options_section(&mut sections)?;
    // Sections of the verb become subsections of its own.
    let text = String::from_utf8_lossy(&sections).replace("\n.SH ", "\n.SS ");
    let text = text
        .strip_prefix(".SH ")
        .map_or(text.clone(), |rest| format!(".SS {rest}"));
    out.extend_from_slice(text.as_bytes());
    Ok(())
}
