//! The tables of `requirements/`, one file a dialect.
//!
//! ```text
//! Status: complete
//!
//! | id | requirement | kind |
//! |---|---|---|
//! | L1.1 | A frame has at most 65 536 bytes. | bound |
//! ```
//!
//! An id is a letter for the dialect, the section of its contract, a number, and a small letter
//! where one point says several things. All that binds in a `complete` dialect must have a
//! check; in an `open` one what has none is only told.

/// What a requirement may be about.
const KINDS: &[&str] = &["bound", "file", "wire", "words", "conduct", "trust"];

/// A wire contract.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dialect {
    /// Its name.
    pub name: String,
    /// Whether every requirement must have a check.
    pub is_complete: bool,
    /// What binds.
    pub requirements: Vec<Requirement>,
}

/// A sentence that binds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requirement {
    /// Its id.
    pub id: String,
    /// What it says.
    pub words: String,
}

/// Whether `text` is spelled as an id.
#[must_use]
pub fn is_id(text: &str) -> bool {
    let number = |text: &str| {
        !text.is_empty() && !text.starts_with('0') && text.bytes().all(|byte| byte.is_ascii_digit())
    };
    let rest = text.strip_prefix(|first: char| first.is_ascii_uppercase());
    let parts = rest.and_then(|rest| rest.split_once('.'));
    parts.is_some_and(|(section, point)| {
        let point = point.strip_suffix(|last: char| last.is_ascii_lowercase());
        let whole = parts.map_or("", |(_, point)| point);
        number(section) && number(point.unwrap_or(whole))
    })
}

/// Reads a table; what is wrong with it is added to `faults`.
#[must_use]
pub fn parse(name: &str, text: &str, faults: &mut Vec<String>) -> Dialect {
    let mut requirements = Vec::new();
    let mut status = None;
    for line in text.lines() {
        if let Some(word) = line.strip_prefix("Status: ") {
            status = Some(word);
        }
        let Some(row) = line.strip_prefix("| ") else {
            continue;
        };
        let cells: Vec<&str> = row.trim_end_matches('|').split(" | ").collect();
        match cells.as_slice() {
            ["id", ..] => {}
            [id, words, kind] if is_id(id) && KINDS.contains(&kind.trim()) => {
                requirements.push(Requirement {
                    id: (*id).to_owned(),
                    words: words.trim().to_owned(),
                });
            }
            _ => faults.push(format!("{name}: no requirement: {line}")),
        }
    }
    if requirements.is_empty() {
        faults.push(format!("{name}: has no requirements"));
    }
    if !matches!(status, Some("complete" | "open")) {
        faults.push(format!("{name}: is neither complete nor open"));
    }
    Dialect {
        name: name.to_owned(),
        is_complete: status != Some("open"),
        requirements,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_have_one_spelling() {
        for id in ["L1.1", "S3.10", "R12.3c"] {
            assert!(is_id(id), "{id}");
        }
        for id in [
            "", "L", "L1", "L1.", "L.1", "l1.1", "L1.1cc", "L1.c", "L01.1", "L1.01", "LL1.1",
            "L1.1 ",
        ] {
            assert!(!is_id(id), "{id}");
        }
    }

    #[test]
    fn tables_are_read_and_what_is_no_row_is_told() {
        let mut faults = Vec::new();
        let text =
            "Status: open\n\n| id | requirement | kind |\n|---|---|---|\n| X1.1 | Be. | bound |\n";
        let dialect = parse("x", text, &mut faults);
        assert_eq!(faults, Vec::<String>::new());
        assert!(!dialect.is_complete);
        let ids: Vec<_> = dialect.requirements.iter().map(|r| r.id.as_str()).collect();
        assert_eq!(ids, ["X1.1"]);

        let rejected = parse(
            "x",
            "Status: done\n| X1 | Be. | bound |\n| X1.1 | Be. | none |\n",
            &mut faults,
        );
        assert_eq!(rejected.requirements, []);
        assert_eq!(
            faults,
            [
                "x: no requirement: | X1 | Be. | bound |",
                "x: no requirement: | X1.1 | Be. | none |",
                "x: has no requirements",
                "x: is neither complete nor open",
            ]
        );
    }
}
