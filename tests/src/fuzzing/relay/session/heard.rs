//! What the client says.

use hallway_core::relay::client::Event;
use hallway_core::relay::raw::Raw;
use hallway_core::relay::versioned::Outcome;

use super::World;

/// What the client says is noted, and nothing twice.
pub(super) fn hear(world: &mut World, event: Option<Event<'_>>) {
    match event {
        None => {}
        Some(Event::UserMessage(message)) => {
            assert!(!world.server.machine, "a machine has no messages");
            let raw = message.plaintext.raw();
            let text = raw.get("content").and_then(|content| content.get("text"));
            let text = text.and_then(Raw::text).expect("a text");
            let number: u64 = text.to_lossy().parse().expect("a number");
            assert!(!world.heard.contains(&number), "{number} is heard twice");
            world.heard.push(number);
        }
        Some(Event::Stored { local_id, seq }) => {
            let id = String::from(local_id);
            assert!(world.sent.contains(&id) && !world.refused.contains(&id));
            assert_eq!(world.stored.insert(id, seq), None, "it has two outcomes");
        }
        Some(Event::TooLarge { local_id }) => {
            let id = String::from(local_id);
            assert!(world.sent.contains(&id) && !world.stored.contains_key(&id));
            assert!(world.refused.insert(id), "it has two outcomes");
        }
        Some(Event::Updated {
            target,
            update,
            outcome,
        }) => {
            assert!(world.ended.insert((target, update)), "it has two outcomes");
            match world.updates.remove(&(target, update)) {
                Some(Some(key)) if matches!(outcome, Outcome::Applied(_)) => {
                    world.applied.push((target, key));
                }
                Some(_) => {}
                None => assert!(world.titles > 0, "nobody asked for it"),
            }
        }
        Some(Event::RpcRequested { owed, .. } | Event::RpcRefused { owed, .. }) => {
            world.owed.push_back(owed);
        }
        Some(Event::MessageReceived(message)) => {
            // One that was refused may have been stored before.
            let id = message.local_id.as_deref().unwrap_or_default();
            assert!(
                world.hostile || world.refused.contains(id),
                "{id} came back"
            );
        }
        Some(Event::RpcLost { owed, .. }) => world.owed.retain(|other| *other != owed),
        Some(Event::Closed { .. }) => {
            assert!(!world.closed, "it ends once");
            world.closed = true;
        }
        // Each of these would be a lie of an honest server's.
        Some(
            other @ (Event::MessageUnreadable { .. }
            | Event::Withheld(_)
            | Event::PageInvalid
            | Event::SessionGone),
        ) => {
            assert!(world.hostile, "{other:?}");
            world.gone |= matches!(other, Event::SessionGone);
        }
        Some(_) => {}
    }
}
