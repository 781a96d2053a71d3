//! What happens to a mirrored session, for people and for programs.

use hallway_core::relay::client::{HttpFailure, Kind, Message, Target};
use hallway_core::relay::plaintext::SessionMessage;
use hallway_core::relay::versioned::{Outcome, Rejection};
use serde_json::{Value, json};

use crate::cli::terminal::{block, visible};
use crate::relay::mirror::Said;
use crate::relay::transport::Update;

/// The margin behind which further lines of others stand.
const MARGIN: &str = "    | ";

/// One line of JSON, or none for what is of no interest to programs. Plaintexts are copied as
/// they are: no parser of Unicode holds all of them.
pub(super) fn value(said: &Said) -> String {
    let update = match said {
        Said::Call { id, method, params } => {
            return with_raw(
                &json!({"event": "call", "id": id, "method": method}),
                "params",
                params.raw().as_str(),
            );
        }
        Said::CallLost { id } => return json!({"event": "callLost", "id": id}).to_string(),
        Said::Served { method } => return json!({"event": "served", "method": method}).to_string(),
        Said::Update(update) => update,
    };
    match update {
        Update::UserMessage(message) => {
            let head = json!({"event": "message", "from": "user", "seq": message.seq,
                "localId": message.local_id, "text": user_text(message)});
            with_raw(&head, "message", message.plaintext.raw().as_str())
        }
        Update::Message(message) => {
            let head = json!({"event": "message", "from": "other", "seq": message.seq,
                "localId": message.local_id});
            with_raw(&head, "message", message.plaintext.raw().as_str())
        }
        Update::Connected { .. }
        | Update::Reconnecting { .. }
        | Update::Closed { .. }
        | Update::Unreadable { .. }
        | Update::Withheld(_)
        | Update::Stored { .. }
        | Update::TooLarge { .. }
        | Update::SendingStopped(_)
        | Update::FetchingStopped(_)
        | Update::FellBack
        | Update::Updated { .. }
        | Update::ValuesChanged { .. }
        | Update::UsageNotReported
        | Update::RpcRequested { .. }
        | Update::RpcRefused { .. }
        | Update::RpcLost { .. }
        | Update::RpcRegistered { .. }
        | Update::RpcUnconfirmed { .. }
        | Update::RpcError { .. }
        | Update::SessionGone => plain(update).to_string(),
    }
}

/// One line of JSON for what happens to the machine's own entry, or none.
pub(super) fn machine_value(update: &Update) -> Option<String> {
    let mut line = plain(update);
    let members = line.as_object_mut()?;
    let what = match members.remove("event")?.as_str()? {
        "sessionGone" => "gone".to_owned(),
        what => what.to_owned(),
    };
    // These are about messages and methods, which it has not.
    for name in ["unsent", "staleOwner"] {
        members.remove(name);
    }
    members.insert("event".to_owned(), "machine".into());
    members.insert("update".to_owned(), what.into());
    Some(line.to_string())
}

/// The same as a line for people.
pub(super) fn machine_text(update: &Update) -> Option<String> {
    let words = words(update, Kind::Machine);
    (!words.is_empty()).then(|| format!("machine: {}", visible(&words)))
}

fn plain(update: &Update) -> Value {
    match update {
        Update::Connected { stale_owner } => {
            json!({"event": "connected", "staleOwner": stale_owner})
        }
        Update::Reconnecting {
            attempt,
            delay,
            cause,
            said,
            detail,
        } => json!({"event": "reconnecting", "attempt": attempt, "delayMs": delay.as_millis(),
            "cause": cause.to_string(), "said": said, "detail": detail}),
        Update::Closed {
            reason,
            said,
            detail,
            unsent,
        } => json!({"event": "closed", "reason": reason.to_string(), "said": said,
            "detail": detail, "unsent": unsent}),
        Update::Unreadable { seq, why } => {
            json!({"event": "unreadable", "seq": seq, "why": why.to_string()})
        }
        Update::Withheld(withheld) => {
            json!({"event": "withheld", "from": withheld.from, "to": withheld.to})
        }
        Update::Stored { local_id, seq } => {
            json!({"event": "stored", "id": local_id, "seq": seq})
        }
        Update::TooLarge { local_id } => json!({"event": "tooLarge", "id": local_id}),
        Update::SendingStopped(why) => {
            json!({"event": "sendingStopped", "why": format!("{why:?}")})
        }
        Update::FetchingStopped(why) => {
            json!({"event": "fetchingStopped", "why": format!("{why:?}")})
        }
        Update::Updated {
            target, outcome, ..
        } => json!({"event": "updated", "value": target_name(*target),
            "outcome": outcome_name(*outcome), "version": version(*outcome),
            "why": reason(*outcome)}),
        Update::ValuesChanged {
            metadata,
            state,
            unreadable,
        } => json!({"event": "valuesChanged", "metadata": metadata, "state": state,
            "unreadable": unreadable}),
        Update::RpcRegistered { method } => json!({"event": "registered", "method": method}),
        Update::RpcUnconfirmed { method } => json!({"event": "unconfirmed", "method": method}),
        Update::RpcError { said } => json!({"event": "rpcError", "said": said}),
        Update::FellBack => json!({"event": "fellBack"}),
        Update::UsageNotReported => json!({"event": "usageNotReported"}),
        Update::SessionGone => json!({"event": "sessionGone"}),
        // These are told otherwise.
        Update::UserMessage(_)
        | Update::Message(_)
        | Update::RpcRequested { .. }
        | Update::RpcRefused { .. }
        | Update::RpcLost { .. } => Value::Null,
    }
}

/// A line for people.
pub(super) fn text(said: &Said) -> String {
    match said {
        Said::Call { id, method, params } => {
            let params = visible(params.raw().as_str());
            format!(
                "{id}: the app calls {}, and waits: {params}",
                visible(method)
            )
        }
        Said::CallLost { id } => format!("{id}: the app waits no longer"),
        Said::Served { method } => format!("the app called {}", visible(method)),
        Said::Update(Update::UserMessage(message)) => {
            format!(
                "{} the user, untrusted: {}",
                message.seq,
                block(&user_text(message), MARGIN)
            )
        }
        Said::Update(Update::Message(message)) => {
            let text = visible(message.plaintext.raw().as_str());
            format!("{} another client, untrusted: {text}", message.seq)
        }
        Said::Update(update) => visible(&words(update, Kind::Session)),
    }
}

fn words(update: &Update, kind: Kind) -> String {
    match update {
        Update::Connected { stale_owner } if !stale_owner || kind == Kind::Machine => {
            "connected".to_owned()
        }
        Update::Connected { .. } => {
            "connected; for up to a minute calls may go to the connection before".to_owned()
        }
        Update::Reconnecting {
            attempt,
            delay,
            cause,
            said,
            detail,
        } => {
            let more = [said, detail].map(|more| more.as_ref().map(|more| format!("; {more}")));
            let more: String = more.into_iter().flatten().collect();
            let delay = delay.as_secs_f32();
            format!("reconnecting in {delay:.1} s, attempt {attempt}: {cause}{more}")
        }
        Update::Closed {
            reason,
            said,
            unsent,
            ..
        } => {
            let said = said.as_ref().map(|said| format!(", which says {said:?}"));
            let said = said.unwrap_or_default();
            let unsent = match (unsent, kind) {
                (_, Kind::Machine) => String::new(),
                (0, Kind::Session) => "; everything was sent".to_owned(),
                (count, Kind::Session) => format!("; {count} messages were not sent"),
            };
            format!("ended: {reason}{said}{unsent}")
        }
        Update::Unreadable { seq, why } => format!("{seq} cannot be read: {why}"),
        Update::Withheld(withheld) => {
            let (from, to) = (withheld.from, withheld.to);
            format!("{from} to {to} are withheld by the server")
        }
        Update::Stored { local_id, seq } => format!("{seq} is stored: {local_id}"),
        Update::TooLarge { local_id } => {
            format!("{local_id} is longer than the server takes, and is dropped")
        }
        Update::SendingStopped(why) => format!("nothing more is sent: {}", failure(*why)),
        Update::FetchingStopped(why) => format!("nothing more is fetched: {}", failure(*why)),
        Update::FellBack => "the server is an old one; messages go over the socket".to_owned(),
        Update::Updated {
            target, outcome, ..
        } => match version(*outcome) {
            Some(version) => {
                format!("the {} are at version {version}", value_name(*target, kind))
            }
            None => format!(
                "the {} were not changed: {}",
                value_name(*target, kind),
                outcome_words(*outcome)
            ),
        },
        Update::ValuesChanged {
            metadata,
            state,
            unreadable,
        } => {
            let owner = state_owner(kind);
            let changed = match (metadata, state) {
                (true, true) => format!("metadata and the {owner} state have"),
                (false, true) => format!("{owner} state has"),
                (true | false, false) => "metadata have".to_owned(),
            };
            let unreadable = if *unreadable {
                ", and cannot be read"
            } else {
                ""
            };
            format!("the {changed} changed{unreadable}")
        }
        Update::UsageNotReported => "the usage was not reported".to_owned(),
        Update::RpcRegistered { method } => format!("the app can call {method}"),
        Update::RpcUnconfirmed { method } => {
            format!("the server does not confirm that the app can call {method}")
        }
        Update::RpcError { said } => {
            let said = said.as_deref().unwrap_or("no reason");
            format!("the server refused a method, which says {said:?}")
        }
        Update::SessionGone => match kind {
            Kind::Session => "the session was deleted".to_owned(),
            Kind::Machine => "it was deleted, and is let go".to_owned(),
        },
        // These are told otherwise.
        Update::UserMessage(_)
        | Update::Message(_)
        | Update::RpcRequested { .. }
        | Update::RpcRefused { .. }
        | Update::RpcLost { .. } => String::new(),
    }
}

const fn failure(why: HttpFailure) -> &'static str {
    match why {
        HttpFailure::TooLarge => "it is too long",
        HttpFailure::Unauthorized => "the token is not accepted",
        HttpFailure::SessionGone => "the session is gone",
        HttpFailure::NoRoute => "the server is too old",
        HttpFailure::Transient | HttpFailure::RetryAfter(_) | _ => "the server is in trouble",
    }
}

const fn value_name(target: Target, kind: Kind) -> &'static str {
    match (target, kind) {
        (Target::Metadata, _) => "metadata",
        (Target::State, Kind::Session) => "contents of the agent state",
        (Target::State, Kind::Machine) => "contents of the daemon's state",
    }
}

const fn state_owner(kind: Kind) -> &'static str {
    match kind {
        Kind::Session => "agent",
        Kind::Machine => "daemon's",
    }
}

const fn outcome_words(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Conflict => "others were faster each time",
        Outcome::Rejected(Rejection::MachineNotFound) => "the server has no such machine",
        Outcome::Rejected(Rejection::InvalidParameters) => "the server takes no such value",
        Outcome::Rejected(_) => "the server refused",
        Outcome::TimedOut => "there was no answer in time",
        Outcome::Unreadable => "what is there cannot be read, and is not written over",
        Outcome::SessionGone => "it is gone",
        Outcome::Applied(_) | Outcome::Closed | _ => "it has ended",
    }
}

/// What the user says.
pub(super) fn user_text(message: &Message) -> String {
    match message.body() {
        SessionMessage::User(user) => user.text.to_lossy().into_owned(),
        SessionMessage::Agent(_) | SessionMessage::Session(_) | SessionMessage::Other(_) | _ => {
            String::new()
        }
    }
}

fn with_raw(head: &Value, name: &str, raw: &str) -> String {
    let head = head.to_string();
    let open = head.strip_suffix('}').unwrap_or(&head);
    format!("{open},\"{name}\":{}}}", raw.replace(['\n', '\r'], " "))
}

const fn target_name(target: Target) -> &'static str {
    match target {
        Target::Metadata => "metadata",
        Target::State => "state",
    }
}

const fn outcome_name(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Applied(_) => "applied",
        Outcome::Conflict => "conflict",
        Outcome::Rejected(_) => "rejected",
        Outcome::TimedOut => "timedOut",
        Outcome::Unreadable => "unreadable",
        Outcome::SessionGone => "sessionGone",
        Outcome::Closed => "closed",
        _ => "unknown",
    }
}

/// What the server says to an update that it refuses.
const fn reason(outcome: Outcome) -> Option<&'static str> {
    let Outcome::Rejected(why) = outcome else {
        return None;
    };
    match why {
        Rejection::MachineNotFound => Some("machineNotFound"),
        Rejection::InvalidParameters => Some("invalidParameters"),
        Rejection::Other | _ => None,
    }
}

const fn version(outcome: Outcome) -> Option<u64> {
    if let Outcome::Applied(version) = outcome {
        Some(version)
    } else {
        None
    }
}
