//! The commands: checks the models, opens one in the explorer, runs the long exhaustive
//! proofs.

use std::process::ExitCode;
use std::time::Instant;

use hallway_proofs::check::Size;
use hallway_proofs::exhaustive::{LETTERS, cuts, framer, message, scan};
use hallway_proofs::search::Until;
use hallway_proofs::{models, mutants, trace};

const USAGE: &str = "usage: hallway-proofs check [--small | --deep] [NAME…]
       hallway-proofs refute [--small] NAME…
       hallway-proofs explore NAME [PORT]
       hallway-proofs exhaustive [MORE]
       hallway-proofs mutants [WORD]
       hallway-proofs trace";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["check", "--deep", names @ ..] => check(Size::Deep, Until::End, names),
        ["check", "--small", names @ ..] => check(Size::Small, Until::End, names),
        ["check", names @ ..] => check(Size::Quick, Until::End, names),
        ["refute", "--small", names @ ..] => check(Size::Small, Until::Broken, names),
        ["refute", names @ ..] => check(Size::Quick, Until::Broken, names),
        ["explore", name] => explore(name, 3_000),
        ["explore", name, port] => port
            .parse()
            .map_or_else(|_| usage(), |port| explore(name, port)),
        ["mutants"] => mutants(""),
        ["mutants", word] => mutants(word),
        ["trace"] => requirements(),
        ["exhaustive"] => exhaustive(0),
        ["exhaustive", more] => more.parse().map_or_else(|_| usage(), exhaustive),
        _ => usage(),
    }
}

fn usage() -> ExitCode {
    eprintln!("{USAGE}");
    for model in models::all() {
        eprintln!("  {:12} {}", model.name, model.about);
    }
    ExitCode::from(2)
}

/// Checks the models of these names, or all; with [`Until::Broken`] each until it is refuted.
fn check(size: Size, until: Until<'static>, names: &[&str]) -> ExitCode {
    let models = models::all();
    if names
        .iter()
        .any(|name| models.iter().all(|model| model.name != *name))
    {
        return usage();
    }
    let mut all_hold = true;
    for model in models {
        if names.is_empty() || names.contains(&model.name) {
            let report = model.check(size, until);
            print!("{}: {report}", model.name);
            all_hold &= report.holds();
        }
    }
    if all_hold {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn explore(name: &str, port: u16) -> ExitCode {
    let found = models::all().into_iter().find(|model| model.name == name);
    let Some(model) = found else { return usage() };
    println!("http://127.0.0.1:{port} until interrupted");
    model.explore(port);
    ExitCode::SUCCESS
}

/// The exhaustive proofs that grow with their bound, `more` beyond those of an optimised test.
fn exhaustive(more: usize) -> ExitCode {
    let proofs: [(&str, &dyn Fn() -> u64); 15] = [
        ("framer, 2 letters, every cut", &|| {
            framer::every_cut(&["a", "\n"], 14 + more, false)
        }),
        ("framer, 3 letters, every cut", &|| {
            framer::every_cut(&["a", "\n", "é"], 10 + more, false)
        }),
        ("framer, all letters, every cut", &|| {
            framer::every_cut(LETTERS, 4 + more, false)
        }),
        ("framer, 2 letters, every cut and every pause", &|| {
            framer::every_cut(&["a", "\n"], 10 + more, true)
        }),
        ("framer, any length, every state", &|| {
            framer::every_state(3 + more)
        }),
        ("messages, all letters", &|| message::every_text(5 + more)),
        ("messages, all pieces", &|| message::every_string(4 + more)),
        ("messages, all beginnings", &|| {
            message::every_beginning(message::PIECES, 7 + more)
        }),
        ("messages, all beginnings of few pieces", &|| {
            message::every_beginning(message::FEW_PIECES, 12 + more)
        }),
        ("messages, all that begin with a meta", &|| {
            message::every_meta(message::FEW_PIECES, 11 + more)
        }),
        ("scanner, numbers", &|| scan::every_number(7 + more)),
        ("scanner, strings", &|| scan::every_string(6 + more)),
        ("scanner, arrays and objects", &|| {
            scan::every_nest(6 + more)
        }),
        ("scanner, words", &|| scan::every_word(6 + more)),
        ("connections, every cut", &|| cuts::every_cut(5 + more)),
    ];
    for (name, proof) in proofs {
        let start = Instant::now();
        let count = proof();
        println!("{name}: {count} cases in {:.1?}", start.elapsed());
    }
    ExitCode::SUCCESS
}

fn mutants(word: &str) -> ExitCode {
    match mutants::run(word) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(survivors) => {
            eprintln!("{survivors} not caught");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Which checks cover which requirements.
fn requirements() -> ExitCode {
    match trace::Trace::read(trace::workspace()) {
        Ok(trace) => {
            print!("{trace}");
            if trace.faults().is_empty() {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            }
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
