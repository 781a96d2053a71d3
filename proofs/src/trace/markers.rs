//! The markers of checks.
//!
//! In Rust a line of the doc comment of a test, in JavaScript a comment above a test:
//! `Covers:` and ids, separated by commas.

use std::fmt;

use super::requirements::is_id;

/// A check and what it says that it covers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// Its source, below the workspace.
    pub file: String,
    /// Its name.
    pub name: String,
    /// The ids of the requirements.
    pub covers: Vec<String>,
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.file, self.name)
    }
}

/// The marked checks of a source; what is wrong with its markers is added to `faults`.
#[must_use]
pub fn scan(file: &str, text: &str, faults: &mut Vec<String>) -> Vec<Check> {
    let mut checks = Vec::new();
    let mut lines = text.lines().map(str::trim).enumerate().peekable();
    while let Some((at, line)) = lines.next() {
        let Some(ids) = marker(line) else { continue };
        let mut ids = ids.map(str::to_owned).collect::<Vec<_>>();
        let mut fault = |what: &str| faults.push(format!("{file}:{}: {what}", at + 1));
        if !line.starts_with(prefix(file)) || !ids.iter().all(|id| is_id(id)) {
            fault("is no marker");
            continue;
        }
        // A long list goes on in a marker of its own.
        let mut attributes = Vec::new();
        let mut found = None;
        while let Some((_, next)) = lines.peek() {
            if let Some(more) = marker(next) {
                ids.extend(more.map(str::to_owned));
            } else if next.starts_with("#[") {
                attributes.push(*next);
            } else if !next.starts_with("//") {
                found = Some(*next);
                break;
            }
            lines.next();
        }
        let name = found.and_then(|line| match prefix(file) {
            RUST => rust_test(line, &attributes),
            _ => javascript_test(line),
        });
        match name {
            Some(_) if attributes.iter().any(|of| of.starts_with("#[ignore")) => {
                fault("marks a test that is not run");
            }
            Some(name) if ids.iter().all(|id| is_id(id)) => checks.push(Check {
                file: file.to_owned(),
                name,
                covers: ids,
            }),
            Some(_) => fault("is no marker"),
            None => fault("marks no test"),
        }
    }
    checks
}

const RUST: &str = "/// Covers: ";

fn prefix(file: &str) -> &'static str {
    if file.ends_with(".rs") {
        RUST
    } else {
        "// Covers: "
    }
}

/// The ids of a comment that begins with the word of a marker, whatever comes after it.
fn marker(line: &str) -> Option<impl Iterator<Item = &str>> {
    let comment = line.strip_prefix("//")?;
    let rest = comment.trim_start_matches(['/', '!', ' ']);
    let ids = rest.strip_prefix("Covers:")?;
    Some(ids.trim().split(", "))
}

fn rust_test(line: &str, attributes: &[&str]) -> Option<String> {
    let test = |attribute: &&str| {
        attribute.starts_with("#[test]") || attribute.starts_with("#[tokio::test")
    };
    attributes.iter().find(|attribute| test(attribute))?;
    let rest = line.strip_prefix("async ").unwrap_or(line);
    let name = rest.strip_prefix("fn ")?.split('(').next()?;
    Some(name.to_owned())
}

fn javascript_test(line: &str) -> Option<String> {
    let rest = line.strip_prefix("it(").or(line.strip_prefix("test("))?;
    let name = rest.split(", ").next()?;
    Some(name.trim_matches(['\'', '"', '`']).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(file: &str, text: &str) -> (Vec<String>, Vec<String>) {
        let mut faults = Vec::new();
        let checks = scan(file, text, &mut faults);
        let checks = checks.iter().map(|check| {
            let ids = check.covers.join(" ");
            format!("{}: {ids}", check.name)
        });
        (checks.collect(), faults)
    }

    #[test]
    fn a_marker_above_a_test_is_found() {
        for (file, text, expected) in [
            ("a.rs", "/// Covers: L1.1\n#[test]\nfn a() {", "a: L1.1"),
            (
                "a.rs",
                "/// Words.\n///\n/// Covers: L1.1, L2.2\n/// Covers: L3.3\n#[tokio::test]\nasync fn a() {",
                "a: L1.1 L2.2 L3.3",
            ),
            (
                "a.rs",
                "  /// Covers: L1.1\n  #[test]\n  fn a(bytes in any()) {",
                "a: L1.1",
            ),
            (
                "a.mjs",
                "// Covers: L1.1\nit('is a, b', async () => {",
                "is a: L1.1",
            ),
        ] {
            assert_eq!(found(file, text), (vec![expected.to_owned()], Vec::new()));
        }
    }

    #[test]
    fn a_marker_that_marks_nothing_is_a_fault() {
        for (file, text, fault) in [
            (
                "a.rs",
                "/// Covers: L1.1\nfn a() {",
                "a.rs:1: marks no test",
            ),
            (
                "a.rs",
                "/// Covers: L1.1\n\n#[test]\nfn a() {",
                "a.rs:1: marks no test",
            ),
            (
                "a.rs",
                "#[test]\nfn a() {\n    /// Covers: L1.1\n    b();",
                "a.rs:3: marks no test",
            ),
            ("a.rs", "/// Covers: L1.1", "a.rs:1: marks no test"),
            (
                "a.rs",
                "/// Covers: L1.1\n#[test]\n#[ignore]\nfn a() {",
                "a.rs:1: marks a test that is not run",
            ),
            (
                "a.rs",
                "/// Covers: the sea\n#[test]\nfn a() {",
                "a.rs:1: is no marker",
            ),
            (
                "a.rs",
                "/// Covers: L1.1\n/// Covers: x\n#[test]\nfn a() {",
                "a.rs:1: is no marker",
            ),
            (
                "a.rs",
                "// Covers: L1.1\n#[test]\nfn a() {",
                "a.rs:1: is no marker",
            ),
            (
                "a.rs",
                "//! Covers: L1.1\n#[test]\nfn a() {",
                "a.rs:1: is no marker",
            ),
            (
                "a.mjs",
                "// Covers: L1.1\nconst a = 1;",
                "a.mjs:1: marks no test",
            ),
        ] {
            assert_eq!(
                found(file, text),
                (Vec::new(), vec![fault.to_owned()]),
                "{text}"
            );
        }
    }
}
