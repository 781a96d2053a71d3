//! The daemon against a floor, in the same run, on the same sockets and cores. See `README.md`
//! beside this file.

#[path = "daemon/alone.rs"]
mod alone;
#[path = "daemon/figures.rs"]
mod figures;
#[path = "daemon/floor.rs"]
mod floor;
#[path = "daemon/lines.rs"]
mod lines;
#[path = "daemon/load.rs"]
mod load;
#[path = "daemon/options.rs"]
mod options;
#[path = "daemon/plot.rs"]
mod plot;
#[path = "daemon/process.rs"]
mod process;
#[path = "daemon/report.rs"]
mod report;
#[path = "daemon/scale.rs"]
mod scale;
#[path = "daemon/sessions.rs"]
mod sessions;
#[path = "daemon/shipped.rs"]
mod shipped;

use std::process::ExitCode;

use anyhow::{Context, Result};

use crate::figures::{Bench, MANY_CONNECTIONS};
use crate::options::{Command, Options};
use crate::shipped::Shipped;

fn main() -> ExitCode {
    match options::parse(std::env::args().skip(1), env!("CARGO_BIN_EXE_hallway")) {
        Ok(command) => match run(command) {
            Ok(code) => code,
            Err(error) => {
                eprintln!("error: {error:#}");
                ExitCode::FAILURE
            }
        },
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn run(command: Command) -> Result<ExitCode> {
    match command {
        Command::Floor(socket) => floor::run(&socket)?,
        Command::Keeper(directory) => process::keep(&directory)?,
        Command::Help => print!("{}", options::HELP),
        Command::List => {}
        Command::Measure(mut options) => {
            let shipped = options.build.then(Shipped::build).transpose()?;
            if let Some(shipped) = &shipped {
                options.program = shipped.program();
            }
            if !options.scale {
                return measure(options, shipped.as_ref());
            }
            scales(options)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Measures and prints; fails if a figure could not be measured, never because a target is missed.
fn measure(options: Options, shipped: Option<&Shipped>) -> Result<ExitCode> {
    let (json, self_check) = (options.json, options.self_check);
    let heading = heading(&options);
    let mut bench = Bench::new(options)?;
    let cores = bench.cores();
    let mut figures = bench.measure();
    if !self_check {
        figures.extend(shipped::figures(&bench.options, shipped));
        figures.retain(|figure| bench.options.wants(figure.name));
    }
    drop(bench);
    if !json {
        println!("{heading}");
        println!(
            "cores: servers on {}, client on {} when pipelined and beside the server otherwise",
            cores.server, cores.client
        );
        println!(
            "spread: least to most of the rounds' ratios, or of the daemon's own values where the target is absolute\n"
        );
    }
    report::print(&figures, json, self_check);
    let failed = figures.iter().any(|figure| figure.failure.is_some());
    Ok(if failed {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

/// Measures how cost grows, prints it, and draws it if that is wanted.
fn scales(options: Options) -> Result<()> {
    let (json, svg) = (options.json, options.svg.clone());
    let series = scale::measure(&mut Bench::new(options)?)?;
    for series in &series {
        series.print(json);
    }
    if let Some(path) = svg {
        std::fs::write(&path, plot::draw(&series))
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

fn heading(options: &Options) -> String {
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    format!(
        "{} rounds of {:?} a side; frame {} bytes with its LF; window {} on 1 connection, {} on each of {}; load before: {}",
        options.rounds,
        options.span,
        load::frame(process::NO_TOKEN).len(),
        options.window_of(1),
        options.window_of(MANY_CONNECTIONS),
        MANY_CONNECTIONS,
        load.split(' ').next().unwrap_or("unknown"),
    )
}
