//! `hallway doctor`: what is wrong, and how to mend it.

use std::process::ExitCode;

use serde_json::json;

use super::args::Doctor;
use super::error::{Exit, Failed};
use super::output::Output;
use super::terminal::visible;
use crate::home::Home;
use crate::local::doctor::{self, Finding, Severity};

pub(super) async fn run(
    arguments: &Doctor,
    home: &Home,
    output: &Output,
) -> Result<ExitCode, Failed> {
    let findings = doctor::examine(home, arguments.fix);
    for finding in &findings {
        output.line(|| text(finding), || value(finding))?;
    }
    let open = |severity| {
        let of = |finding: &&Finding| finding.severity == severity && !finding.fixed;
        findings.iter().filter(of).count()
    };
    let (errors, warnings) = (open(Severity::Error), open(Severity::Warning));
    let notes = open(Severity::Note);
    let fixed = findings.iter().filter(|finding| finding.fixed).count();
    let well = !findings.iter().any(Finding::is_open);
    output.line(
        || {
            let verdict = if well { "nothing is wrong" } else { "not well" };
            format!("{verdict}: {errors} errors, {warnings} warnings, {notes} notes; {fixed} fixed")
        },
        || {
            json!({
                "event": "summary", "errors": errors, "warnings": warnings, "notes": notes,
                "fixed": fixed, "ok": well,
            })
        },
    )?;
    Ok(if well { Exit::Done } else { Exit::Failed }.into())
}

/// A finding on one line. Paths and names are others'.
fn text(finding: &Finding) -> String {
    let fixed = if finding.fixed { "done: " } else { "" };
    let line = format!(
        "{:7}  {}; {}; {fixed}{}",
        finding.severity.as_str(),
        finding.what,
        finding.why,
        finding.fix
    );
    visible(&line)
}

fn value(finding: &Finding) -> serde_json::Value {
    json!({
        "event": "finding", "severity": finding.severity.as_str(), "what": finding.what,
        "why": finding.why, "fix": finding.fix, "fixed": finding.fixed,
        "path": finding.path.as_deref().map(std::path::Path::to_string_lossy),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_is_one_line_and_moves_no_cursor() {
        let mut finding = Finding {
            severity: Severity::Note,
            what: "a\nb".to_owned(),
            why: "\u{1b}[2J".to_owned(),
            fix: "run \u{202e}".to_owned(),
            path: Some("/x".into()),
            fixed: false,
        };
        assert_eq!(text(&finding), "note     a\\nb; \\u{1b}[2J; run \\u{202e}");
        finding.fixed = true;
        assert_eq!(
            text(&finding),
            "note     a\\nb; \\u{1b}[2J; done: run \\u{202e}"
        );
        assert_eq!(
            value(&finding),
            json!({
                "event": "finding", "severity": "note", "what": "a\nb", "why": "\u{1b}[2J",
                "fix": "run \u{202e}", "path": "/x", "fixed": true,
            })
        );
    }
}
