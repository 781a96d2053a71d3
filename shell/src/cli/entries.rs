//! Entries of an inbox, for people and for programs.

use hallway_core::local::inbox::Entry;
use serde_json::Value;

use super::terminal::{block, visible};

/// The margin behind which a peer's further lines stand.
const MARGIN: &str = "    | ";

/// Appends an entry as people read it, with its newline.
pub(super) fn write(entry: &Entry, out: &mut Vec<u8>) {
    let mut line = Vec::new();
    entry.write_json(&mut line);
    out.extend_from_slice(text(&String::from_utf8_lossy(&line)).as_bytes());
    out.push(b'\n');
}

/// An entry's line of JSON as text for people: who by the kernel's account, when, and what,
/// with every treacherous character made visible. `from` is what the peer claims.
pub(super) fn text(line: &str) -> String {
    let Ok(entry) = serde_json::from_str::<Value>(line) else {
        // JSON that Rust strings cannot hold, such as half an emoji, is shown as it was written.
        return block(line, MARGIN);
    };
    let message = entry.get("message").unwrap_or(&Value::Null);
    let field = |name: &str| message.get(name).and_then(Value::as_str);
    let id = entry.get("id").and_then(Value::as_str).unwrap_or("?");
    let peer = entry.get("peer").unwrap_or(&Value::Null);
    let (pid, uid) = (number(peer, "pid"), number(peer, "uid"));
    let at = entry.get("receivedAt").and_then(Value::as_u64);
    let at = at
        .and_then(hallway_core::UnixTime::from_millis)
        .unwrap_or_default();
    let kind = field("type").unwrap_or("untyped");
    let data = match message.get("data") {
        None => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    };
    let claimed = field("from").map(|from| format!(", says it is {}", visible(from)));
    format!(
        "{} {at} {} from pid {pid} (uid {uid}{}), untrusted: {}",
        visible(id),
        visible(kind),
        claimed.unwrap_or_default(),
        block(&data, MARGIN),
    )
}

fn number(object: &Value, name: &str) -> u64 {
    object.get(name).and_then(Value::as_u64).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_reads_as_one_block() {
        let line = concat!(
            r#"{"event":"message","id":"uds-1","receivedAt":0,"peer":{"uid":1,"pid":2},"#,
            r#""message":{"type":"text","data":"a\u001b[2J\nuds-2 fake","from":"/x"}}"#
        );
        assert_eq!(
            text(line),
            "uds-1 1970-01-01T00:00:00.000Z text from pid 2 (uid 1, says it is /x), untrusted: a\\u{1b}[2J\n    | uds-2 fake"
        );
    }

    #[test]
    fn what_cannot_be_decoded_is_shown_raw() {
        let line = r#"{"event":"message","id":"uds-1","message":{"data":"\ud83d"}}"#;
        assert_eq!(text(line), line);
    }
}
