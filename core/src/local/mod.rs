//! The local dialect: NDJSON over Unix domain sockets with capability tokens ("local.md").
//!
//! What is specific to the capability dialect is in the modules here; framing, output,
//! admission and the mailbox serve any dialect.

mod auth;
pub mod capability;
pub mod connection;

pub mod exchange;
pub mod inbox;
pub mod input;
pub mod message;
pub mod owner;
mod receipt;
pub mod record;
mod usual;

pub use connection::{CloseReason, Connection, Refusal, Server};

pub use exchange::{Answer, Data, Draft, Exchange, Failure, Outcome, SendError, SendId};
pub use inbox::{Entry, EntryId, Full, Inbox, Peer, Renderer};
pub use message::{Kept, Message};
pub use record::{Liveness, Process, Record};
