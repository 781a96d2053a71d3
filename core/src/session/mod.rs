//! Remote sessions: the subscription dialect (sessions.md).
//!
//! [`subscription`] keeps one connection up and books what is asked and answered over it;
//! [`control`] reads and writes the frames; [`event`] is what the machine says.

pub mod control;
pub mod event;
pub mod limits;
mod queue;
pub mod subscription;
