//! `hallway peers`: who is there.

use std::process::ExitCode;

use serde_json::{Value, json};

use super::args::Peers;
use super::error::{Exit, Failed};
use super::output::Output;
use super::terminal::visible;
use crate::clock;
use crate::home::Home;
use crate::local::peers::{self, PeerInfo, Standing};

pub(super) async fn run(
    arguments: &Peers,
    home: &Home,
    output: &Output,
) -> Result<ExitCode, Failed> {
    let mut peers = if arguments.all {
        peers::all(home)?
    } else {
        peers::live(home)?
    };
    if arguments.probe {
        peers::probe(home, &mut peers).await;
        if !arguments.all {
            peers.retain(|peer| peer.standing.is_there());
        }
    }
    if output.json {
        let lines: Vec<_> = peers.iter().map(|peer| value(peer).to_string()).collect();
        if !lines.is_empty() {
            output.raw(&lines.join("\n"))?;
        }
    } else if peers.is_empty() {
        output.raw("no live sessions; start one with `hallway serve` or `hallway run`")?;
    } else {
        output.raw(&table(&peers))?;
    }
    Ok(Exit::Done.into())
}

fn value(peer: &PeerInfo) -> Value {
    let mut value = json!({
        "pid": peer.pid,
        "name": peer.name,
        "sessionId": peer.session_id,
        "kind": peer.kind,
        "cwd": peer.cwd,
        "startedAt": peer.started_at.map(hallway_core::UnixTime::as_millis),
        "address": peer.socket_path.as_ref().map(|path| format!("uds:{path}")),
    });
    let (live, reachable) = match &peer.standing {
        Standing::Live => (true, Value::Null),
        Standing::Reachable { after } => {
            set(&mut value, "ms", json!(after.as_secs_f64() * 1_000.0));
            (true, json!(true))
        }
        Standing::Unreachable { why } => {
            set(&mut value, "why", json!(why));
            (true, json!(false))
        }
        Standing::Absent { why } => {
            set(&mut value, "why", json!(why));
            (false, json!(false))
        }
    };
    set(&mut value, "live", json!(live));
    set(&mut value, "reachable", reachable);
    value
}

fn set(object: &mut Value, name: &str, value: Value) {
    if let Value::Object(members) = object {
        members.insert(name.to_owned(), value);
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
