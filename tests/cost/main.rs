//! What a byte of the costliest inputs costs the core, in instructions that callgrind counts,
//! against one of canonical frames: at most [`MAX_TIMES`].
//!
//! `cargo bench -p hallway-tests --bench cost` counts the inputs of `fuzz/corpus/cost`;
//! `-- DIRECTORY…` counts those of other directories of the workspace, as of `fuzz/found/cost`. It needs valgrind,
//! and fails without it and when a byte costs more. `-- --quick`, or no `--bench` argument, only
//! serves them.

use std::fs;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use hallway_tests::cost::{Client, cut, frame, long_enough};

/// How many times as much a byte may cost.
const MAX_TIMES: f64 = 20.0;
/// How many of the costliest are shown.
const SHOWN: usize = 5;
/// What canonical frames have for their text.
const TEXT_BYTES: usize = 200;

/// One input, and what it was counted for.
struct Counted {
    name: String,
    most: usize,
    a_byte: f64,
}

fn main() -> ExitCode {
    match run(std::env::args().skip(1).collect()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(why) => {
            eprintln!("error: {why}");
            ExitCode::FAILURE
        }
    }
}

fn run(mut arguments: Vec<String>) -> Result<bool, String> {
    if arguments.first().is_some_and(|first| first == "--serve") {
        serve_all(&inputs(&arguments[1..])?);
        return Ok(true);
    }
    let quick = !arguments.iter().any(|argument| argument == "--bench")
        || arguments.iter().any(|argument| argument == "--quick");
    arguments.retain(|argument| !argument.starts_with("--"));
    if arguments.is_empty() {
        arguments.push("fuzz/corpus/cost".to_owned());
    }
    // Cargo starts it in the package, where nobody types its command.
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for argument in &mut arguments {
        *argument = workspace.join(&*argument).display().to_string();
    }
    let inputs = inputs(&arguments)?;
    if inputs.is_empty() {
        return Err("there are no inputs to count".to_owned());
    }
    if quick {
        serve_all(&inputs);
        return Ok(true);
    }
    judge(count(&arguments, &inputs)?)
}

/// The files of `directories` that are inputs, in an order that is always the same.
fn inputs(directories: &[String]) -> Result<Vec<(PathBuf, Vec<u8>)>, String> {
    let mut inputs = Vec::new();
    for directory in directories {
        let because = |error| format!("{directory} cannot be read; {error}");
        for entry in fs::read_dir(directory).map_err(because)? {
            let path = entry.map_err(because)?.path();
            let bytes = fs::read(&path).map_err(because)?;
            if cut(&bytes).is_some() {
                inputs.push((path, bytes));
            }
        }
    }
    inputs.sort();
    Ok(inputs)
}

/// Serves canonical frames, then every input, each to a client of its own, and prints how many
/// bytes of each were read.
fn serve_all(inputs: &[(PathBuf, Vec<u8>)]) {
    println!("{}", serve(&frame(TEXT_BYTES), usize::MAX));
    for (_, bytes) in inputs {
        let (most, input) = cut(bytes).expect("it is an input");
        println!("{}", serve(input, most));
    }
}

fn serve(input: &[u8], most: usize) -> usize {
    let input = long_enough(input);
    let mut client = Client::new();
    counted(&mut client, &input, most)
}

/// What callgrind counts, by this name.
#[inline(never)]
fn counted(client: &mut Client, input: &[u8], most: usize) -> usize {
    black_box(client).serve(black_box(input), most)
}

/// Counts canonical frames and every input, in one run.
fn count(directories: &[String], inputs: &[(PathBuf, Vec<u8>)]) -> Result<Vec<Counted>, String> {
    const NAME: &str = "cost::counted";
    let own = std::env::current_exe().map_err(|error| error.to_string())?;
    let kept = tempfile::tempdir().map_err(|error| error.to_string())?;
    let out = kept.path().join("out");
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--dump-instr=no"])
        .args([
            format!("--toggle-collect={NAME}"),
            format!("--dump-after={NAME}"),
            format!("--callgrind-out-file={}", out.display()),
        ])
        .arg(own)
        .arg("--serve")
        .args(directories)
        .output()
        .map_err(|error| format!("valgrind does not start: {error}; install it"))?;
    if !output.status.success() {
        let words = String::from_utf8_lossy(&output.stderr);
        return Err(format!("valgrind says: {words}"));
    }
    let read: Vec<usize> = String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| line.parse().ok())
        .collect();
    let names = inputs.iter().map(|(path, bytes)| {
        let name = path.file_name().unwrap_or_default();
        let (most, _) = cut(bytes).expect("it is an input");
        (name.to_string_lossy().into_owned(), most)
    });
    let names = std::iter::once(("canonical frames".to_owned(), usize::MAX)).chain(names);
    let mut all = Vec::new();
    for ((at, (name, most)), read) in (1..).zip(names).zip(&read) {
        let dump = out.with_extension(at.to_string());
        let instructions = instructions(&dump)?;
        // One frame's bytes are the least that is counted: see `fuzz/counter`.
        let bytes = (*read).max(frame(TEXT_BYTES).len());
        let a_byte = instructions as f64 / bytes as f64;
        all.push(Counted { name, most, a_byte });
    }
    if all.len() != inputs.len() + 1 {
        return Err(format!(
            "{} of {} inputs were served",
            all.len(),
            inputs.len() + 1
        ));
    }
    Ok(all)
}

/// The instructions of one dump.
fn instructions(dump: &Path) -> Result<u64, String> {
    let text = fs::read_to_string(dump)
        .map_err(|error| format!("{} was not dumped; {error}", dump.display()))?;
    text.lines()
        .find_map(|line| line.strip_prefix("summary: ")?.trim().parse().ok())
        .filter(|instructions| *instructions > 0)
        .ok_or_else(|| "callgrind counted nothing".to_owned())
}

/// Prints the costliest, and says whether none costs too much.
fn judge(mut all: Vec<Counted>) -> Result<bool, String> {
    let canonical = all.remove(0).a_byte;
    all.sort_by(|one, other| other.a_byte.total_cmp(&one.a_byte));
    println!(
        "a byte of canonical frames costs {canonical:.1} instructions; the costliest of {} inputs:",
        all.len()
    );
    for counted in all.iter().take(SHOWN) {
        let times = counted.a_byte / canonical;
        let reads = match counted.most {
            usize::MAX => "whole".to_owned(),
            most => format!("in reads of {most}"),
        };
        println!("{times:>6.2} times  {reads:<16} {}", counted.name);
    }
    let most = all.first().ok_or("no inputs were counted")?.a_byte / canonical;
    if most > MAX_TIMES {
        println!("EXCEEDED: at most {MAX_TIMES} times is wanted");
    }
    Ok(most <= MAX_TIMES)
}
