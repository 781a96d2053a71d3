//! The catalogue and the code agree: what is checked stands in `README.md`, and what stands
//! there is checked.

use std::collections::BTreeSet;
use std::fs;

use hallway_proofs::models::policy::Statement;
use hallway_proofs::trace::{sources, workspace};
use hallway_proofs::{models, mutants};

type Row = Vec<String>;

fn read(path: &str) -> String {
    let path = workspace().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The rows of the table under a heading of the catalogue, without its head.
fn rows(heading: &str) -> Vec<Row> {
    let catalogue = read("proofs/README.md");
    let (_, rest) = catalogue
        .split_once(&format!("\n### {heading}\n"))
        .unwrap_or_else(|| panic!("{heading} is no heading"));
    let lines = rest.lines().take_while(|line| !line.starts_with('#'));
    let rows = lines.filter_map(|line| {
        let cells = line.strip_prefix("| ")?.strip_suffix(" |")?.split(" | ");
        Some(cells.map(str::to_owned).collect())
    });
    let rows: Vec<Row> = rows.skip(1).collect();
    assert!(!rows.is_empty(), "{heading} has no rows");
    rows
}

/// The names between backticks in a cell.
fn names(cell: &str) -> impl Iterator<Item = String> {
    cell.split('`').skip(1).step_by(2).map(str::to_owned)
}

/// The first cells of the rows under a heading, which are names.
fn first_names(heading: &str) -> BTreeSet<String> {
    let cells = rows(heading).into_iter();
    cells
        .flat_map(|row| names(&row[0]).collect::<Vec<_>>())
        .collect()
}

/// What stands between `before` and the next `after`, wherever that is.
fn between<'a>(text: &'a str, before: &'a str, after: char) -> impl Iterator<Item = &'a str> {
    let parts = text.split(before).skip(1);
    parts.filter_map(move |part| part.split(after).next())
}

/// The functions of a source that stand under `attribute`.
fn functions(text: &str, attribute: &str) -> BTreeSet<String> {
    let found = between(text, attribute, '(').map(|head| head.trim());
    let found = found.filter_map(|head| head.rsplit_once("fn ").map(|(_, name)| name.to_owned()));
    found.collect()
}

/// Which model is of which machine, by the module it is in.
fn machine(model: &str) -> &str {
    match model {
        "narrow" => "connection",
        "eager-exchange" => "exchange",
        "rough-link" => "link",
        "cramped-crowd" => "crowd",
        "policy" | "forced" | "queues" => "subscription",
        "relay-link" | "relay-acks" => "relay_link",
        "relay-cursor" | "relay-lag" => "relay_cursor",
        "relay-outbox" => "relay_outbox",
        "relay-versioned" => "relay_versioned",
        other => other,
    }
}

const MACHINES: [&str; 11] = [
    "connection",
    "exchange",
    "link",
    "crowd",
    "inbox",
    "admission",
    "subscription",
    "relay_link",
    "relay_cursor",
    "relay_outbox",
    "relay_versioned",
];

#[test]
fn every_property_of_a_model_is_listed_with_its_models() {
    let mut listed = BTreeSet::new();
    for machine in MACHINES {
        for row in rows(&format!("Machine: {machine}")) {
            let is_example = row[2] == "example";
            let models = names(&row[1]);
            listed.extend(models.map(|model| (model, row[0].clone(), is_example)));
        }
    }
    let mut checked = BTreeSet::new();
    for model in models::all() {
        assert!(MACHINES.contains(&machine(model.name)), "{}", model.name);
        for statement in model.statements() {
            let name = statement.name.to_owned();
            checked.insert((model.name.to_owned(), name, statement.is_example));
        }
    }
    assert_eq!(listed, checked);
}

#[test]
fn every_break_of_a_model_is_listed_with_its_property() {
    let tests = read("proofs/tests/mutants.rs") + &read("proofs/tests/relay.rs");
    let sources = mutants::names();
    for machine in MACHINES {
        let mut listed = BTreeSet::new();
        for row in rows(&format!("Machine: {machine}")) {
            if let Some(name) = row[2].strip_prefix("source: ") {
                assert!(sources.contains(&name), "{name} is no break");
                continue;
            }
            let breaks: Vec<_> = names(&row[2]).collect();
            assert_eq!(breaks.is_empty(), row[2] == "example", "{row:?}");
            listed.extend(breaks.into_iter().map(|name| (name, row[0].clone())));
        }
        let own = read("proofs/tests/subscription.rs");
        let mut bodies = tests.split("#[test]\nfn ");
        let body = match machine {
            "subscription" => own.split_once("#[test]\n").map(|(_, body)| body),
            _ => bodies.find(|body| body.starts_with(&format!("{machine}()"))),
        };
        let body = body.expect("each machine has a test of its breaks");
        let mut tested = BTreeSet::new();
        for part in body.split("Flaw::").skip(1) {
            let name: String = part
                .chars()
                .take_while(char::is_ascii_alphanumeric)
                .collect();
            let property = part
                .split('"')
                .nth(1)
                .expect("a property follows")
                .to_owned();
            tested.insert((name, property));
        }
        assert_eq!(listed, tested, "{machine}");
        let places = [format!("{machine}.rs"), format!("{machine}/mod.rs")];
        let places = places.map(|place| workspace().join("proofs/src/models").join(place));
        let file = places.iter().find_map(|path| fs::read_to_string(path).ok());
        let known = variants(&file.expect("each machine has a model"), "Flaw");
        let used: BTreeSet<_> = tested.into_iter().map(|(name, _)| name).collect();
        assert_eq!(known, used, "{machine}");
    }
}

/// The variants of an enum without fields.
fn variants(text: &str, name: &str) -> BTreeSet<String> {
    let (_, rest) = text
        .split_once(&format!("\nenum {name} {{"))
        .or_else(|| text.split_once(&format!("\npub enum {name} {{")))
        .expect("there is such an enum");
    let lines = rest.lines().map(str::trim).take_while(|line| *line != "}");
    let lines = lines.filter_map(|line| line.strip_suffix(','));
    lines.map(str::to_owned).collect()
}

#[test]
fn every_model_has_its_figures() {
    let catalogue = read("proofs/README.md");
    for model in models::all() {
        let row = format!("\n| `{}` | ", model.name);
        let (_, rest) = catalogue.split_once(&row).expect("each model has a row");
        let row = rest.lines().next().expect("it has cells");
        let deep = !row.contains("not measured: ");
        assert_eq!(
            row.matches(" states, ").count(),
            1 + usize::from(deep),
            "{row}"
        );
    }
}

#[test]
fn every_loom_model_and_break_is_listed() {
    let tests = functions(&read("proofs/tests/loom/main.rs"), "#[test]\n");
    assert_eq!(first_names("Loom models"), tests);
    let seeded = read("proofs/tests/loom/seeded.rs");
    let (_, bugs) = seeded.split_once("\nbugs! {\n").expect("bugs are listed");
    let bugs = bugs.lines().take_while(|line| *line != "}");
    let bugs = bugs.filter_map(|line| {
        line.trim()
            .split_once(": explore(")
            .or(line.trim().split_once(": arrives("))
    });
    let bugs: BTreeSet<_> = bugs.map(|(name, _)| name.to_owned()).collect();
    assert_eq!(first_names("Loom breaks"), bugs);
}

#[test]
fn every_shuttle_model_and_break_is_listed() {
    let text = read("proofs/tests/shuttle.rs");
    assert_eq!(first_names("Shuttle models"), functions(&text, "#[test]\n"));
    assert_eq!(first_names("Shuttle breaks"), variants(&text, "Bug"));
}

#[test]
fn every_exhaustive_proof_is_listed() {
    let mut proofs = BTreeSet::new();
    let dir = workspace().join("proofs/src/exhaustive");
    for (path, text) in sources(&dir, "rs").expect("the sources can be read") {
        let module = path
            .file_stem()
            .expect("a file has a name")
            .to_string_lossy();
        let found = between(&text, "\npub fn every", '(');
        proofs.extend(found.map(|rest| format!("{module}::every{rest}")));
    }
    assert_eq!(first_names("Exhaustive proofs"), proofs);
}

#[test]
fn every_break_of_the_simulation_is_listed() {
    let flaws = variants(&read("tests/src/sim/mod.rs"), "Flaw");
    assert_eq!(first_names("Simulation breaks"), flaws);
}

#[test]
fn every_break_of_the_subscriptions_simulation_is_listed() {
    let text = read("tests/src/sim_session/mod.rs");
    let listed = rows("Subscription simulation breaks");
    let listed = listed.iter().map(|row| row.join(" ")).collect::<Vec<_>>();
    let flaws = between(&text, "(Self::", ')').filter_map(|row| row.split_once(", \""));
    let flaws = flaws.map(|(name, words)| format!("`{name}` {}", words.trim_end_matches('"')));
    assert_eq!(listed, flaws.collect::<Vec<_>>());
    assert_eq!(
        first_names("Subscription simulation breaks"),
        variants(&text, "Flaw")
    );
}

#[test]
fn every_break_of_the_relays_simulation_is_listed() {
    let text = read("tests/src/sim_relay/flaw.rs");
    let listed = rows("Relay simulation breaks");
    let listed = listed.iter().map(|row| row.join(" ")).collect::<Vec<_>>();
    let flaws = between(&text, "(Self::", ')').filter_map(|row| row.split_once(", \""));
    let flaws = flaws.map(|(name, words)| format!("`{name}` {}", words.trim_end_matches('"')));
    assert_eq!(listed, flaws.collect::<Vec<_>>());
    assert_eq!(
        first_names("Relay simulation breaks"),
        variants(&text, "Flaw")
    );
}

#[test]
fn every_fuzz_target_is_listed() {
    let targets = sources(&workspace().join("fuzz/fuzz_targets"), "rs");
    let targets = targets.expect("the sources can be read").into_iter();
    let targets = targets.filter_map(|(path, _)| Some(path.file_stem()?.to_str()?.to_owned()));
    assert_eq!(first_names("Fuzz targets"), targets.collect());
}

#[test]
fn every_proof_of_the_compiled_core_is_listed() {
    let text = read("proofs/binary/prove.py");
    let quick = between(&text, "\n@proof\ndef ", '(');
    let proofs = quick.chain(between(&text, "\n@deep\ndef ", '('));
    assert_eq!(
        first_names("Binary proofs"),
        proofs.map(str::to_owned).collect()
    );
}

#[test]
fn every_check_against_the_reference_model_is_listed() {
    let main = read("tests/properties/main.rs");
    let relay = read("tests/properties/relay.rs");
    let own = between(&main, "\n        fn ", '(').map(str::to_owned);
    let relay = between(&relay, "\n    fn ", '(').map(|name| format!("relay::{name}"));
    assert_eq!(first_names("Reference checks"), own.chain(relay).collect());
}

#[test]
fn every_statement_about_the_policy_is_listed() {
    let rows = rows("Policy statements");
    let all = models::all();
    let ours = all
        .iter()
        .filter(|model| machine(model.name) == "subscription");
    let ours: Vec<_> = ours.flat_map(|model| model.statements()).collect();
    for row in &rows {
        let known = ours.iter().any(|statement| statement.name == row[3]);
        assert!(known, "{} is no property of ours", row[3]);
    }
    let listed: Vec<_> = rows
        .iter()
        .map(|row| (row[0].clone(), row[1].clone()))
        .collect();
    let all = Statement::ALL.iter();
    let all = all.map(|of| (of.words().to_owned(), of.point().to_string()));
    assert_eq!(listed, all.collect::<Vec<_>>());
}

#[test]
fn every_break_of_the_sources_is_listed() {
    let listed: Vec<_> = rows("Source breaks")
        .into_iter()
        .map(|row| row[0].clone())
        .collect();
    assert_eq!(listed, mutants::names());
}
