//! What the sockets say, and what they are told (relay.md §2).

use serde_json::{Value, json};

use super::State;
use super::state::{Joined, Room, Way};

/// Whether a socket may join.
///
/// # Errors
///
/// The words of the refusal.
pub(super) fn admit(state: &State, auth: &Value) -> Result<(), String> {
    let token = auth["token"].as_str().unwrap_or_default();
    let words = if let Some(words) = &state.faults.refuse_join {
        words
    } else if token.is_empty() {
        "Missing authentication token"
    } else if auth["clientType"] == "session-scoped" && !auth["sessionId"].is_string() {
        "Session ID required for session-scoped clients"
    } else if auth["clientType"] == "machine-scoped" && !auth["machineId"].is_string() {
        "Machine ID required for machine-scoped clients"
    } else if state.faults.no_tokens || !state.tokens.contains_key(token) {
        "Invalid authentication token"
    } else {
        return Ok(());
    };
    Err(words.to_owned())
}

/// Lets a socket in, under a number.
pub(super) fn enter(state: &mut State, way: Way, auth: &Value) -> u64 {
    state.joined += 1;
    let scope = |kind: &str, name: &str| {
        let id = auth[name].as_str().filter(|_| auth["clientType"] == kind);
        id.map(str::to_owned)
    };
    let joined = Joined {
        way,
        session: scope("session-scoped", "sessionId"),
        machine: scope("machine-scoped", "machineId"),
    };
    state.sockets.insert(state.joined, joined);
    state.joined
}

/// A socket is gone.
pub(super) fn leave(state: &mut State, number: u64) {
    state.sockets.remove(&number);
    state.methods.retain(|_, owner| *owner != number);
}

/// An event of a socket's; what it is acknowledged with, if it is.
pub(super) fn event(state: &mut State, own: u64, name: &str, payload: &Value) -> Option<Value> {
    let sid = payload["sid"].as_str().unwrap_or_default().to_owned();
    state.hear(name, payload);
    match name {
        "ping" => return (!state.faults.half_open).then(|| json!({})),
        "message" => {
            let local_id = payload["localId"].as_str();
            state.store(&sid, payload["message"].as_str()?, local_id, Some(own));
        }
        "session-alive" => {
            let session = state.sessions.get_mut(&sid)?;
            (session.active, session.alive) = (true, session.alive + 1);
        }
        "session-end" => state.sessions.get_mut(&sid)?.active = false,
        "usage-report" => {
            state.usage.push(payload.clone());
            return Some(json!({"success": true, "reportId": "r", "createdAt": 1, "updatedAt": 1}));
        }
        "update-metadata" => return write(state, &sid, payload, "metadata"),
        "update-state" => return write(state, &sid, payload, "agentState"),
        "machine-alive" => {
            let machine = state.machines.get_mut(payload["machineId"].as_str()?)?;
            (machine.active, machine.alive) = (true, machine.alive + 1);
        }
        "machine-update-metadata" => return write_machine(state, payload, "metadata"),
        "machine-update-state" => return write_machine(state, payload, "daemonState"),
        "rpc-register" => {
            let method = payload["method"].as_str()?.to_owned();
            if !state.faults.no_registrations {
                let answer = json!({"method": method});
                // The first that joined wins.
                state.methods.entry(method).or_insert(own);
                state.emit(state.sockets.get(&own)?, "rpc-registered", &answer);
            }
        }
        "rpc-unregister" => {
            let method = payload["method"].as_str()?;
            state.methods.remove(method);
            let answer = json!({"method": method});
            state.emit(state.sockets.get(&own)?, "rpc-unregistered", &answer);
        }
        _ => {}
    }
    None
}

/// Writes a value if its version is the expected one; the sockets hear of it before the writer.
fn write(state: &mut State, sid: &str, payload: &Value, name: &str) -> Option<Value> {
    if state.faults.no_acks {
        return None;
    }
    let expected = payload["expectedVersion"].as_u64();
    let new = payload[name].as_str().map(str::to_owned);
    let Some(session) = state.sessions.get_mut(sid) else {
        // Metadata of an unknown session are never acknowledged.
        return (name == "agentState").then(|| json!({"result": "error"}));
    };
    let (value, version) = if name == "metadata" {
        (Some(session.metadata.0.clone()), session.metadata.1)
    } else {
        session.agent_state.clone()
    };
    if expected != Some(version) {
        return Some(json!({"result": "version-mismatch", "version": version, name: value}));
    }
    let version = version + 1;
    if name == "metadata" {
        session.metadata = (new.clone()?, version);
    } else {
        session.agent_state = (new.clone(), version);
    }
    let body = json!({"t": "update-session", "id": sid, name: {"value": new, "version": version}});
    state.update(Room::Session(sid), body, None);
    Some(json!({"result": "success", "version": version, name: new}))
}

/// The same for a machine; what is refused is said.
fn write_machine(state: &mut State, payload: &Value, name: &str) -> Option<Value> {
    if state.faults.no_acks {
        return None;
    }
    let id = payload["machineId"].as_str().unwrap_or_default();
    let (Some(expected), Some(new)) = (payload["expectedVersion"].as_u64(), payload[name].as_str())
    else {
        return Some(json!({"result": "error", "message": "Invalid parameters"}));
    };
    let Some(machine) = state.machines.get_mut(id) else {
        return Some(json!({"result": "error", "message": "Machine not found"}));
    };
    let of_metadata = name == "metadata";
    let (value, version) = if of_metadata {
        (Some(machine.metadata.0.clone()), machine.metadata.1)
    } else {
        machine.daemon_state.clone()
    };
    if expected != version {
        return Some(json!({"result": "version-mismatch", "version": version, name: value}));
    }
    let version = version + 1;
    if of_metadata {
        machine.metadata = (new.to_owned(), version);
    } else {
        machine.daemon_state = (Some(new.to_owned()), version);
        machine.active = true;
    }
    let told = json!({"value": new, "version": version});
    let body = json!({"t": "update-machine", "machineId": id, name: told});
    state.update(Room::Machine(id), body, None);
    Some(json!({"result": "success", "version": version, name: new}))
}
