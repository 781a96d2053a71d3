//! `hallway peers`: who is there.

use std::fmt::{Display, Write as _};
use std::process::ExitCode;

use hallway_core::UnixTime;
use serde_json::Value;

use super::args::Peers;
use super::error::{Exit, Failed};
use super::output::{Output, print_all};
use super::terminal::visible;
use crate::clock;
use crate::home::Home;
use crate::local::peers::{self, PeerInfo, Standing};

pub(super) async fn run(
    arguments: &Peers,
    home: &Home,
    output: &Output,
) -> Result<ExitCode, Failed> {
    let wanted = |standing: &Standing| arguments.all || standing.is_there();
    if output.json && !arguments.probe {
        return print(&peers::each(home, wanted, |peer| line(&peer))?);
    }
    let mut peers = peers::each(home, wanted, |peer| peer)?;
    if arguments.probe {
        peers::probe(home, &mut peers).await;
        peers.retain(|peer| wanted(&peer.standing));
    }
    if output.json {
        let lines: Vec<_> = peers.iter().map(line).collect();
        return print(&lines);
    }
    if peers.is_empty() {
        output.raw("no live sessions; start one with `hallway serve` or `hallway run`")?;
    } else {
        output.raw(&table(&peers))?;
    }
    Ok(Exit::Done.into())
}

fn print(lines: &[String]) -> Result<ExitCode, Failed> {
    print_all(lines.concat().as_bytes())?;
    Ok(Exit::Done.into())
}

/// One line of JSON. There may be many of them: it is written without a tree.
fn line(peer: &PeerInfo) -> String {
    let (live, reachable, milliseconds, why) = match &peer.standing {
        Standing::Live => (true, None, None, None),
        Standing::Reachable { after } => (true, Some(true), Some(after.as_secs_f64() * 1e3), None),
        Standing::Unreachable { why } => (true, Some(false), None, Some(why)),
        Standing::Absent { why } => (false, Some(false), None, Some(why)),
    };
    let address = peer.socket_path.as_ref().map(|path| format!("uds:{path}"));
    let started_at = peer.started_at.map(UnixTime::as_millis);
    let mut line = Line::default();
    line.text("address", address.as_ref());
    line.text("cwd", peer.cwd.as_ref());
    line.text("kind", peer.kind.as_ref());
    line.value("live", Some(live));
    if milliseconds.is_some() {
        line.value("ms", milliseconds);
    }
    line.text("name", peer.name.as_ref());
    line.value("pid", Some(peer.pid));
    line.value("reachable", reachable);
    line.text("sessionId", peer.session_id.as_ref());
    line.value("startedAt", started_at);
    if why.is_some() {
        line.text("why", why);
    }
    line.end()
}

#[derive(Default)]
struct Line(String);

impl Line {
    fn text(&mut self, name: &str, text: Option<&String>) {
        self.value(name, text.map(|text| Value::from(text.as_str())));
    }

    /// A number or a truth value is spelled alike here and in JSON.
    fn value(&mut self, name: &str, value: Option<impl Display>) {
        let separator = if self.0.is_empty() { '{' } else { ',' };
        let written = match value {
            Some(value) => write!(self.0, "{separator}\"{name}\":{value}"),
            None => write!(self.0, "{separator}\"{name}\":null"),
        };
        debug_assert!(written.is_ok(), "a string takes everything");
    }

    fn end(mut self) -> String {
        self.0.push_str("}\n");
        self.0
    }
}

/// Columns as wide as what stands in them; every text is another program's.
fn table(peers: &[PeerInfo]) -> String {
    let mut rows = vec![
        [
            "NAME",
            "SESSION",
            "PID",
            "KIND",
            "AGE",
            "REACHABLE",
            "ADDRESS",
            "CWD",
        ]
        .map(str::to_owned),
    ];
    for peer in peers {
        let text = |text: &Option<String>| text.as_deref().map_or("-".to_owned(), visible);
        rows.push([
            text(&peer.name),
            text(&peer.session_id),
            peer.pid.to_string(),
            text(&peer.kind),
            peer.started_at
                .map_or("-".to_owned(), |at| age(clock::wall().since(at).as_secs())),
            match &peer.standing {
                Standing::Live => "?".to_owned(),
                Standing::Reachable { after } => format!("{:.1} ms", after.as_secs_f64() * 1_000.0),
                Standing::Unreachable { why } | Standing::Absent { why } => {
                    format!("no: {}", visible(why))
                }
            },
            peer.socket_path
                .as_deref()
                .map_or("-".to_owned(), |path| format!("uds:{}", visible(path))),
            text(&peer.cwd),
        ]);
    }
    let mut widths = [0; 8];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let lines: Vec<_> = rows
        .iter()
        .map(|row| {
            let cells: Vec<_> = row
                .iter()
                .zip(widths)
                .map(|(cell, width)| format!("{cell:width$}"))
                .collect();
            cells.join("  ").trim_end().to_owned()
        })
        .collect();
    lines.join("\n")
}

/// A span in its largest unit.
fn age(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3_600 => format!("{}m", seconds / 60),
        3_600..86_400 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_have_one_unit() {
        let ages = [0, 59, 60, 3_599, 3_600, 86_399, 86_400, 10_000_000].map(age);
        assert_eq!(ages, ["0s", "59s", "1m", "59m", "1h", "23h", "1d", "115d"]);
    }

    #[test]
    fn other_programs_texts_are_made_visible() {
        let peer = PeerInfo {
            pid: 7,
            name: Some("a\u{1b}[2Jb".to_owned()),
            session_id: None,
            kind: None,
            cwd: Some("/x\ny".to_owned()),
            started_at: None,
            socket_path: Some("/s\u{202e}".to_owned()),
            standing: Standing::Unreachable {
                why: "it said \u{7}".to_owned(),
            },
        };
        let table = table(&[peer]);
        assert_eq!(table.lines().count(), 2);
        assert!(!table.chars().any(|c| c.is_control() && c != '\n') && !table.contains('\u{202e}'));
        assert!(table.contains("a\\u{1b}[2Jb") && table.contains("no: it said \\u{7}"));
    }
}
