//! Every public function of the core, each kept as a function of its own because its address
//! is: with arguments of which nothing is known. The check compares this list with the sources.

use core::fmt::{Debug, Display};
use core::hash::{Hash, Hasher};

use hallway_core::admission::{Admitted, ClientId, Evicted, Refused};
use hallway_core::backoff::{
    Backoff, Budget, GaveUp, Growth, Policy, PolicyBuilder, Retry, Schedule, Spread,
};
use hallway_core::framer::FrameTooLong;
use hallway_core::limits::LimitsError;
use hallway_core::local::capability::{self, CapabilityError};
use hallway_core::local::connection::{Action, CloseReason, Connection, Event, Refusal, Server};
use hallway_core::local::exchange::{Exchange, Failure, Outcome, SendError, SendId};
use hallway_core::local::inbox::{Entry, EntryId, Full, Inbox, Peer, Renderer};
use hallway_core::local::input::{Input, InputError};
use hallway_core::local::message::{self, Kept, Kind, Message, MessageError};
use hallway_core::local::owner::{NotAQuestion, Question, Reply};
use hallway_core::local::record::{Liveness, Process, Record, RecordError, SessionKind};
use hallway_core::session::control::{Frame, NotForwarded, Request, Response};
use hallway_core::session::event::{
    Action as SessionAction, Cancelled, Cause, CloseReason as SessionCloseReason, DialFailure,
    Epoch, Event as SessionEvent, SendError as SessionSendError,
};
use hallway_core::session::limits::{
    Limits as SessionLimits, LimitsBuilder as SessionLimitsBuilder,
};
use hallway_core::session::subscription::Subscription;
use hallway_core::{
    Admission, Framer, Instant, Limits, LimitsBuilder, Outbox, OutboxFull, Token, TokenError,
    UnixTime,
};

#[repr(transparent)]
pub(crate) struct Root(pub(crate) *const ());

// SAFETY: never read.
unsafe impl Sync for Root {}

macro_rules! roots {
    ($name:ident: $($function:expr),* $(,)?) => {
        #[used]
        #[unsafe(no_mangle)]
        static $name: [Root; [$(stringify!($function)),*].len()] = [$(Root($function as *const ())),*];
    };
}

/// Any hasher.
pub(crate) struct Sum(u64);

impl Hasher for Sum {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(5) ^ u64::from(*byte);
        }
    }
}

/// The entries that an iterator of the inbox gives, to any visitor.
fn inbox_pending(inbox: &Inbox, seen: Option<EntryId>, visit: fn(&Entry)) {
    inbox.pending(seen).for_each(visit);
}

/// What the check must find, or it finds nothing.
fn canary(bytes: &[u8], at: usize) -> u8 {
    bytes[at]
}

#[cfg(feature = "relay")]
pub(crate) use roots;

roots! { HALLWAY_CANARY: canary }

roots! { HALLWAY_TIME:
    Instant::from_nanos, Instant::as_nanos, Instant::after, Instant::since,
    UnixTime::from_millis, UnixTime::as_millis, UnixTime::since, UnixTime::iso8601,
    <UnixTime as Display>::fmt,
}

roots! { HALLWAY_LIMITS:
    Limits::builder, Limits::worst_case_bytes, <Limits as Default>::default,
    LimitsBuilder::build, LimitsBuilder::set, <LimitsError as Display>::fmt,
    Limits::max_frame_bytes, LimitsBuilder::max_frame_bytes,
    Limits::max_frame_depth, LimitsBuilder::max_frame_depth,
    Limits::max_inbox_entries, LimitsBuilder::max_inbox_entries,
    Limits::max_inbox_bytes, LimitsBuilder::max_inbox_bytes,
    Limits::max_inbox_entries_per_peer, LimitsBuilder::max_inbox_entries_per_peer,
    Limits::max_inbox_bytes_per_peer, LimitsBuilder::max_inbox_bytes_per_peer,
    Limits::max_clients, LimitsBuilder::max_clients,
    Limits::max_clients_per_peer, LimitsBuilder::max_clients_per_peer,
    Limits::max_unauthenticated_clients, LimitsBuilder::max_unauthenticated_clients,
    Limits::max_refused_clients, LimitsBuilder::max_refused_clients,
    Limits::max_outbox_bytes, LimitsBuilder::max_outbox_bytes,
    Limits::max_pending_sends, LimitsBuilder::max_pending_sends,
    Limits::auth_timeout, LimitsBuilder::auth_timeout,
    Limits::idle_timeout, LimitsBuilder::idle_timeout,
    Limits::closing_timeout, LimitsBuilder::closing_timeout,
    Limits::send_timeout, LimitsBuilder::send_timeout,
    Limits::ping_timeout, LimitsBuilder::ping_timeout,
    Limits::connect_timeout, LimitsBuilder::connect_timeout,
}

roots! { HALLWAY_TOKEN:
    Token::from_entropy, Token::parse, Token::expose, Token::verify,
    <Token as Debug>::fmt, core::ptr::drop_in_place::<Token>, <TokenError as Display>::fmt,
}

roots! { HALLWAY_FRAMER:
    Framer::new, Framer::spare_mut, Framer::commit, Framer::next_frame, Framer::has_partial,
    Framer::shrink, Framer::is_bare, Framer::lend, Framer::reclaim, Framer::discard,
    core::ptr::drop_in_place::<Framer>,
    FrameTooLong::seen, <FrameTooLong as Display>::fmt,
}

roots! { HALLWAY_OUTBOX:
    Outbox::new, Outbox::push, Outbox::room, Outbox::len, Outbox::is_empty, Outbox::pending,
    Outbox::consume, Outbox::discard, core::ptr::drop_in_place::<Outbox>,
    <OutboxFull as Display>::fmt,
}

roots! { HALLWAY_ADMISSION:
    Admission::new, Admission::admit, Admission::handle_authenticated, Admission::release,
    Admission::served, Admission::unauthenticated, Admission::refused,
    core::ptr::drop_in_place::<Admission>,
}

roots! { HALLWAY_MESSAGE:
    message::is_blank, Message::parse, Message::kind, Message::kept, Kept::to_text, Kept::len,
    Kept::is_empty, <Kept as Debug>::fmt, <Message as Debug>::fmt, <MessageError as Display>::fmt,
}

roots! { HALLWAY_INBOX:
    Inbox::new, Inbox::push, Inbox::pop, inbox_pending, Inbox::mark_processed, Inbox::is_crowded,
    Inbox::len, Inbox::is_empty, Inbox::bytes, Inbox::last, core::ptr::drop_in_place::<Inbox>,
    EntryId::get, EntryId::parse, <EntryId as Display>::fmt, <Full as Display>::fmt,
    Entry::id, Entry::peer, Entry::received_at, Entry::message, Entry::write_json,
    Renderer::write_json, core::ptr::drop_in_place::<Renderer>,
}

roots! { HALLWAY_CONNECTION:
    Server::new, Server::token, <Refusal as Display>::fmt,
    Connection::new, Connection::spare_mut, Connection::handle_input,
    Connection::handle_input_drained, Connection::is_bare, Connection::lend, Connection::reclaim,
    Connection::handle_end_of_input, Connection::handle_stop, Connection::handle_broken, Connection::handle_eviction, Connection::handle_frame,
    Connection::handle_enqueued, Connection::handle_answered, Connection::pending,
    Connection::handle_output, Connection::poll_action, Connection::poll_timeout,
    Connection::handle_timeout, Connection::is_authenticated, Connection::close_reason,
    Connection::is_closed, core::ptr::drop_in_place::<Connection>,
    core::ptr::drop_in_place::<Server>,
}

roots! { HALLWAY_EXCHANGE:
    Exchange::new, Exchange::send, Exchange::ask, Exchange::ping, Exchange::spare_mut,
    Exchange::handle_input, Exchange::handle_end_of_input, Exchange::handle_broken,
    Exchange::handle_output_broken, Exchange::pending, Exchange::handle_output,
    Exchange::poll_outcome, Exchange::refusal, Exchange::is_closed, Exchange::unanswered,
    Exchange::poll_timeout, Exchange::handle_timeout, core::ptr::drop_in_place::<Exchange>,
    <SendError as Display>::fmt, <Failure as Display>::fmt,
}

roots! { HALLWAY_TEXTS:
    capability::print, capability::parse, <CapabilityError as Display>::fmt,
    Input::parse, Input::draft, <InputError as Display>::fmt,
    Question::parse, Question::kind, Question::data, <NotAQuestion as Display>::fmt,
    Reply::write_processed, Reply::parse,
}

roots! { HALLWAY_RECORD:
    SessionKind::as_str, Record::new, Record::parse, Record::print, Record::pid,
    Record::session_id, Record::cwd, Record::started_at, Record::kind, Record::entrypoint,
    Record::socket_path, Record::name, Record::process_start, Record::raw, Record::set_text,
    Record::set_number, Record::liveness, <RecordError as Display>::fmt,
    core::ptr::drop_in_place::<Record>, core::ptr::drop_in_place::<Process>,
}

roots! { HALLWAY_BACKOFF:
    Schedule::delay, Policy::builder, Policy::transient, Policy::not_found, Policy::forced_delay,
    Policy::healthy_after, Policy::settled_after, Policy::give_up_after, Policy::max_retry_after,
    Policy::max_dials, <Policy as Default>::default,
    PolicyBuilder::from, PolicyBuilder::transient, PolicyBuilder::not_found,
    PolicyBuilder::forced_delay, PolicyBuilder::healthy_after, PolicyBuilder::settled_after,
    PolicyBuilder::give_up_after, PolicyBuilder::max_retry_after, PolicyBuilder::build,
    <GaveUp as Display>::fmt, Backoff::new, Backoff::policy, Backoff::end_connection,
    Backoff::restart, Backoff::fail, Backoff::attempt,
}

roots! { HALLWAY_SESSION_LIMITS:
    SessionLimits::builder, SessionLimits::worst_case_bytes, <SessionLimits as Default>::default,
    SessionLimitsBuilder::build, SessionLimitsBuilder::set,
    SessionLimits::max_message_bytes, SessionLimitsBuilder::max_message_bytes,
    SessionLimits::max_pending_requests, SessionLimitsBuilder::max_pending_requests,
    SessionLimits::max_pending_bytes, SessionLimitsBuilder::max_pending_bytes,
    SessionLimits::max_outbox_frames, SessionLimitsBuilder::max_outbox_frames,
    SessionLimits::max_outbox_bytes, SessionLimitsBuilder::max_outbox_bytes,
    SessionLimits::dial_timeout, SessionLimitsBuilder::dial_timeout,
    SessionLimits::token_timeout, SessionLimitsBuilder::token_timeout,
    SessionLimits::ping_interval, SessionLimitsBuilder::ping_interval,
    SessionLimits::probe_timeout, SessionLimitsBuilder::probe_timeout,
    SessionLimits::sleep_lateness, SessionLimitsBuilder::sleep_lateness,
}

roots! { HALLWAY_SESSION:
    Frame::parse, Request::read, Request::subtype, Request::frame,
    Response::frame, <NotForwarded as Display>::fmt,
    Epoch::number, <DialFailure as Display>::fmt, <Cause as Display>::fmt,
    <SessionCloseReason as Display>::fmt, <SessionSendError as Display>::fmt,
    Subscription::new, Subscription::serving, Subscription::connect, Subscription::reconnect,
    Subscription::close, Subscription::handle_opened, Subscription::handle_dial_failed,
    Subscription::handle_token, Subscription::handle_message, Subscription::handle_binary,
    Subscription::handle_pong,
    Subscription::handle_closed, Subscription::handle_message_too_long,
    Subscription::handle_wake, Subscription::poll_timeout, Subscription::handle_timeout,
    Subscription::poll_action, Subscription::poll_event, Subscription::answer,
    Subscription::request, Subscription::poll_transmit, Subscription::handle_transmitted,
    Subscription::open_epoch, Subscription::close_reason, Subscription::unsent,
    Subscription::pending_requests, Subscription::ignored, Subscription::limits,
    core::ptr::drop_in_place::<Subscription>,
}

/// What is derived: copies, comparisons, hashes and debug texts.
macro_rules! derived {
    ($name:ident: $($type:ty),* $(,)?) => {
        roots! { $name: $(
            <$type as Clone>::clone, <$type as PartialEq>::eq, <$type as Hash>::hash::<Sum>,
            <$type as Debug>::fmt
        ),* }
    };
}

#[cfg(feature = "relay")]
pub(crate) use derived;

derived! { HALLWAY_DERIVED:
    Instant, UnixTime, Limits, LimitsBuilder, LimitsError, TokenError, Framer, FrameTooLong,
    Outbox, OutboxFull, Admission, Admitted, Evicted, Refused, ClientId, Message<'static>,
    Kept<'static>, Kind, MessageError, Inbox, Entry, EntryId, Full, Peer, Connection, Refusal,
    CloseReason, Event<'static>, Action, Exchange, SendId, Outcome, SendError, Failure,
    CapabilityError, Input<'static>, InputError, Question, Reply, NotAQuestion, Record,
    RecordError, SessionKind, Process, Liveness, Growth, Spread, Schedule, Policy, PolicyBuilder,
    Budget, Retry, GaveUp, Backoff, NotForwarded, Epoch, SessionAction, DialFailure, Cause,
    SessionCloseReason, Cancelled, SessionSendError, SessionLimits, SessionLimitsBuilder,
    Subscription,
}

roots! { HALLWAY_DERIVED_TEXTS:
    <Frame<'static> as Debug>::fmt, <Frame<'static> as PartialEq>::eq,
    <Request<'static> as Debug>::fmt, <Request<'static> as PartialEq>::eq,
    <Response<'static> as Debug>::fmt, <Response<'static> as PartialEq>::eq,
    <SessionEvent<'static> as Debug>::fmt, <SessionEvent<'static> as PartialEq>::eq,
}

#[cfg(feature = "std")]
mod shared {
    use alloc::vec::Vec;

    use super::{Debug, Display, Entry, Root};
    use hallway_core::mailbox::{Gate, Mailbox, Rejected};

    /// Keeps the closure's type nameable.
    fn peek(mailbox: &Mailbox, out: &mut Vec<u8>) {
        mailbox.peek(None, |entry: &Entry| {
            entry.write_json(out);
            true
        });
    }

    roots! { HALLWAY_MAILBOX:
        Mailbox::new, Mailbox::push, Mailbox::poll_pending, Mailbox::pop, Mailbox::drain, peek,
        Mailbox::mark_processed, Mailbox::close, Mailbox::is_crowded, Mailbox::size,
        Gate::new, Gate::admit, Gate::handle_authenticated, Gate::release, Gate::served,
        Gate::unauthenticated, Gate::refused, <Rejected as Display>::fmt,
        <Rejected as Debug>::fmt, core::ptr::drop_in_place::<Mailbox>,
        core::ptr::drop_in_place::<Gate>,
    }
}
