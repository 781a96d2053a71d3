//! The routes (relay.md §3).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signature, VerifyingKey};
use serde_json::{Value, json};

use super::{Machine, Session, Shared, State};

/// A request.
#[derive(Debug, Default)]
pub(super) struct Asked {
    pub(super) method: String,
    pub(super) path: String,
    pub(super) query: String,
    pub(super) token: Option<String>,
    pub(super) body: Value,
}

type Answer = (u16, Value);

/// What is to be sent for a request; `None` when it is cut off.
pub(super) fn respond(shared: &Shared, asked: &Asked) -> Option<(u16, String)> {
    let mut state = shared.lock();
    if state.faults.http_down {
        return None;
    }
    let what = format!("{} {}?{}", asked.method, asked.path, asked.query);
    state.hear(&what, &asked.body);
    let (status, body) = answer(&mut state, asked);
    let mut body = body.to_string();
    if let Some(rewrite) = state.faults.rewrite {
        rewrite(&format!("{} {}", asked.method, asked.path), &mut body);
    }
    let is_post = asked.method == "POST" && asked.path.ends_with("/messages");
    let lost = is_post && status == 200 && state.faults.lose_post_answers > 0;
    state.faults.lose_post_answers -= u32::from(lost);
    drop(state);
    shared.tell();
    (!lost).then_some((status, body))
}

fn failure(status: u16, error: &str) -> Answer {
    (status, json!({"error": error}))
}

fn answer(state: &mut State, asked: &Asked) -> Answer {
    let parts: Vec<&str> = asked.path.trim_start_matches('/').split('/').collect();
    let text = |name: &str| asked.body[name].as_str().unwrap_or_default().to_owned();
    if parts.starts_with(&["v1", "auth"]) && parts != ["v1", "auth", "response"] {
        return auth(state, asked, &parts);
    }
    let Some(token) = &asked.token else {
        return failure(401, "Missing authorization header");
    };
    if state.faults.no_tokens || !state.tokens.contains_key(token) {
        return failure(401, "Invalid token");
    }
    match (asked.method.as_str(), parts.as_slice()) {
        ("POST", ["v1", "auth", "response"]) => {
            let granted = Some((token.clone(), text("response")));
            state.pairings.insert(text("publicKey"), granted);
            (200, json!({"success": true}))
        }
        ("POST", ["v1", "sessions"]) => create(state, asked),
        ("GET", ["v1", "sessions"]) => {
            let rows: Vec<_> = state
                .sessions
                .keys()
                .filter_map(|id| state.row(id))
                .collect();
            (200, json!({"sessions": rows}))
        }
        ("POST", ["v1", "sessions", id, "archive"]) => match state.sessions.get_mut(*id) {
            Some(session) => {
                session.active = false;
                (200, json!({"success": true}))
            }
            None => failure(404, "Session not found"),
        },
        ("DELETE", ["v1", "sessions", id]) => match state.sessions.remove(*id) {
            Some(_) => (200, json!({"success": true})),
            None => failure(404, "Session not found"),
        },
        ("GET", ["v1", "sessions", id, "messages"]) => match state.sessions.get(*id) {
            Some(session) => {
                let newest = session.messages.iter().rev().take(150);
                (
                    200,
                    json!({"messages": newest.map(super::Message::row).collect::<Vec<_>>()}),
                )
            }
            None => failure(404, "Session not found"),
        },
        ("GET", ["v3", "sessions", id, "messages"]) if !state.faults.no_v3 => {
            page(state, asked, id)
        }
        ("POST", ["v3", "sessions", id, "messages"]) if !state.faults.no_v3 => {
            post(state, asked, id)
        }
        ("POST", ["v1", "machines"]) => {
            let (id, daemon_state) = (text("id"), asked.body["daemonState"].as_str());
            let made = || Machine {
                data_key: asked.body["dataEncryptionKey"].as_str().map(str::to_owned),
                metadata: (text("metadata"), 1),
                daemon_state: (
                    daemon_state.map(str::to_owned),
                    u64::from(daemon_state.is_some()),
                ),
                ..Machine::default()
            };
            state.machines.entry(id.clone()).or_insert_with(made);
            (200, json!({"machine": state.machine_row(&id)}))
        }
        ("GET", ["v1", "machines"]) => {
            let ids = state.machines.keys();
            (200, ids.filter_map(|id| state.machine_row(id)).collect())
        }
        ("GET", ["v1", "machines", id]) => match state.machine_row(id) {
            Some(row) => (200, json!({"machine": row})),
            None => failure(404, "Machine not found"),
        },
        ("DELETE", ["v1", "machines", id]) => match state.delete_machine(id) {
            true => (200, json!({"success": true})),
            false => failure(404, "Machine not found"),
        },
        (method, _) => {
            let message = format!("Route {method}:{} not found", asked.path);
            (
                404,
                json!({"message": message, "error": "Not Found", "statusCode": 404}),
            )
        }
    }
}

fn auth(state: &mut State, asked: &Asked, parts: &[&str]) -> Answer {
    let text = |name: &str| asked.body[name].as_str().unwrap_or_default().to_owned();
    let bytes = |name: &str| STANDARD.decode(text(name)).unwrap_or_default();
    match (asked.method.as_str(), parts) {
        ("POST", ["v1", "auth"]) => {
            let verified = || {
                let key = VerifyingKey::from_bytes(&bytes("publicKey").try_into().ok()?).ok()?;
                let signature = Signature::from_slice(&bytes("signature")).ok()?;
                key.verify_strict(&bytes("challenge"), &signature).ok()
            };
            if verified().is_none() {
                return failure(401, "Invalid signature");
            }
            let token = format!("token.{}", state.tokens.len());
            state.tokens.insert(token.clone(), text("publicKey"));
            (200, json!({"success": true, "token": token}))
        }
        ("POST", ["v1", "auth", "request"]) => {
            match state.pairings.entry(text("publicKey")).or_default() {
                None => (200, json!({"state": "requested"})),
                Some((token, response)) => (
                    200,
                    json!({"state": "authorized", "token": token, "response": response}),
                ),
            }
        }
        ("GET", ["v1", "auth", "request", "status"]) => {
            let key = asked.query.trim_start_matches("publicKey=");
            let key = key
                .replace("%3D", "=")
                .replace("%2B", "+")
                .replace("%2F", "/");
            let status = match state.pairings.get(&key) {
                None => "not_found",
                Some(None) => "pending",
                Some(Some(_)) => "authorized",
            };
            (200, json!({"status": status, "supportsV2": true}))
        }
        _ => failure(404, "Not found"),
    }
}

fn create(state: &mut State, asked: &Asked) -> Answer {
    let text = |name: &str| asked.body[name].as_str().map(str::to_owned);
    let tag = text("tag").unwrap_or_default();
    let known = state
        .sessions
        .iter()
        .find(|(_, session)| session.tag == tag);
    let id = match known {
        Some((id, _)) => id.clone(),
        None => {
            let id = format!("session-{}", state.sessions.len() + 1);
            let session = Session {
                tag,
                data_key: text("dataEncryptionKey"),
                metadata: (text("metadata").unwrap_or_default(), 0),
                active: true,
                ..Session::default()
            };
            state.sessions.insert(id.clone(), session);
            id
        }
    };
    (200, json!({"session": state.row(&id)}))
}

fn page(state: &State, asked: &Asked, id: &str) -> Answer {
    let Some(session) = state.sessions.get(id) else {
        return failure(404, "Session not found");
    };
    let number = |name: &str, default: u64| {
        let mut pairs = asked
            .query
            .split('&')
            .filter_map(|pair| pair.split_once('='));
        let found = pairs.find(|(own, _)| *own == name);
        found.map_or(Ok(default), |(_, value)| value.parse())
    };
    let (Ok(after), Ok(limit @ 1..=500)) = (number("after_seq", 0), number("limit", 100)) else {
        return failure(400, "Bad query");
    };
    let limit = usize::try_from(limit).unwrap_or(100);
    let rest: Vec<_> = session
        .messages
        .iter()
        .filter(|message| message.seq > after)
        .collect();
    let rows: Vec<_> = rest
        .iter()
        .take(limit)
        .map(|message| message.row())
        .collect();
    (
        200,
        json!({"messages": rows, "hasMore": rest.len() > limit}),
    )
}

fn post(state: &mut State, asked: &Asked, id: &str) -> Answer {
    state.posts += 1;
    let (left, status) = state.faults.refuse_posts;
    if left > 0 {
        state.faults.refuse_posts = (left - 1, status);
        return failure(status, "Trouble");
    }
    if !state.sessions.contains_key(id) {
        return failure(404, "Session not found");
    }
    let Some(messages @ [_, ..]) = asked.body["messages"].as_array().map(Vec::as_slice) else {
        return failure(400, "No messages");
    };
    if messages.len() > 100 {
        return failure(400, "Too many messages");
    }
    let mut rows = Vec::new();
    for message in messages {
        let (content, local_id) = (message["content"].as_str(), message["localId"].as_str());
        let (Some(content), Some(local_id)) = (content, local_id) else {
            return failure(400, "No content or no id");
        };
        let stored = state.store(id, content, Some(local_id), None);
        let seq = stored.map(|(seq, _)| seq);
        rows.push(
            json!({"id": format!("m{seq:?}"), "seq": seq, "localId": local_id,
            "createdAt": 1, "updatedAt": 1}),
        );
    }
    rows.sort_by_key(|row| row["seq"].as_u64());
    (200, json!({"messages": rows}))
}
