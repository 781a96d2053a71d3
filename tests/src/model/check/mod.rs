//! The core's machines against the model, one check each. All of them take arbitrary bytes: the
//! first two are a seed that plans bounds, cuts and the order of things, the rest is input or
//! steers operations.
//!
//! Where a machine has them, each check holds the four stock properties: the outcome does not
//! depend on cuts or order; a timeout early, late or twice is harmless; memory is bounded;
//! terminal is terminal.

mod admission;
mod connection;
mod control;
mod conversation;
mod exchange;
mod files;
mod framer;
mod inbox;
mod mailbox;
mod message;
mod outbox;
pub(crate) mod subscription;
mod time;
mod witness;

pub use admission::check_admission;
pub use connection::check_connection;
pub use control::check_control;
pub use conversation::check_conversation;
pub use exchange::check_exchange;
pub use files::{check_capability, check_input, check_record};
pub use framer::check_framer;
pub use inbox::check_inbox;
pub use mailbox::check_mailbox;
pub use message::check_message;
pub use outbox::check_outbox;
pub use subscription::check_subscription;
pub use time::check_time;

use std::hash::{Hash, Hasher};
use std::time::Duration;

use hallway_core::local::connection::{CloseReason, Server};
use hallway_core::{Instant, Token};

use super::conversation::Ending;
use super::frames::Rules;
use super::source::Source;

/// The seed that plans a check, from the first two bytes.
fn plan(source: &mut Source<'_>) -> Source<'static> {
    Source::Seed(u64::from(source.byte()) << 8 | u64::from(source.byte()))
}

/// How many bytes a machine holds: what its `Hash` goes over, which is every field and the whole
/// length of every buffer.
#[must_use]
pub fn footprint(machine: &impl Hash) -> usize {
    struct Count(usize);
    impl Hasher for Count {
        fn write(&mut self, bytes: &[u8]) {
            self.0 += bytes.len();
        }
        fn finish(&self) -> u64 {
            0
        }
    }
    let mut count = Count(0);
    machine.hash(&mut count);
    count.0
}

/// More than the fields of any machine take, its buffers aside.
const FIELDS: usize = 512;

fn server(rules: &Rules) -> Server {
    Server::new(&rules.path, Token::parse(&rules.token).expect("a token"))
}

/// The point `ms` milliseconds after the origin.
fn at(ms: u64) -> Instant {
    Instant::from_nanos(ms * 1_000_000)
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).expect("a short span")
}

fn check_text(found: &[u8], expected: &[u8]) {
    if found != expected {
        let text = String::from_utf8_lossy;
        panic!("{:?}, but {:?}", text(found), text(expected));
    }
}

/// The model's word for an ending of the core's.
fn ending(reason: CloseReason) -> Ending {
    match reason {
        CloseReason::Finished => Ending::Finished,
        CloseReason::Stopped => Ending::Stopped,
        CloseReason::Refused(refusal) => Ending::Refused(refusal.to_string()),
        CloseReason::Broken => Ending::Broken,
        other => panic!("no connection ends so: {other:?}"),
    }
}
