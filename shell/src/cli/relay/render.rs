//! What happens to a mirrored session, for people and for programs.

use hallway_core::relay::client::{Message, Target};
use hallway_core::relay::plaintext::SessionMessage;
use hallway_core::relay::versioned::Outcome;
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
            "outcome": outcome_name(*outcome), "version": version(*outcome)}),
        Update::ValuesChanged {
            metadata,
            agent_state,
            unreadable,
        } => json!({"event": "valuesChanged", "metadata": metadata, "state": agent_state,
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
        Said::Update(update) => visible(&plain(update).to_string()),
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
        Target::AgentState => "state",
    }
}

const fn outcome_name(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Applied(_) => "applied",
        Outcome::Conflict => "conflict",
        Outcome::Rejected => "rejected",
        Outcome::TimedOut => "timedOut",
        Outcome::Unreadable => "unreadable",
        Outcome::SessionGone => "sessionGone",
        Outcome::Closed => "closed",
        _ => "unknown",
    }
}

const fn version(outcome: Outcome) -> Option<u64> {
    if let Outcome::Applied(version) = outcome {
        Some(version)
    } else {
        None
    }
}
