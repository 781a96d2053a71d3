//! Every public function of the relay dialect, as `surface` has those of the rest.

use core::fmt::{Debug, Display};
use core::hash::Hash;

use hallway_core::Instant;
use hallway_core::relay::cipher::{self, Cipher, Nonce, OpenError, Plaintext, SealError};
use hallway_core::relay::client::{
    self, Change, Client, Kind, Merge, Message, Route, Scope, SendError, Target, Unreadable,
};
use hallway_core::relay::credentials::{Credentials, Keys, Malformed, SessionKey, Settings};
use hallway_core::relay::cursor::{self, Cursor, FetchId, InvalidPage, Verdict, Withheld};
use hallway_core::relay::engineio::{self, Handshake};
use hallway_core::relay::keys::{AccountSecret, BlobKey, BoxKeyPair, DataKey, KeyNode, PublicKey};
use hallway_core::relay::limits::{Limits, LimitsBuilder};
use hallway_core::relay::link::{
    self, AckFailure, Asked, Auth, Cause, CloseReason, EmitError, Ignored, Link, Owed, Status,
};
use hallway_core::relay::outbox::{
    self, BatchId, InvalidAnswer, Outbox, PostFailure, PushError, StopReason,
};
use hallway_core::relay::path::{self, Outside};
use hallway_core::relay::plaintext::{
    self as claude, AcpData, AgentContent, AgentMessage, AssistantMessage, ClaudeLine,
    ClaudeMessage, Completion, Document, Field, Outgoing, Reported, SessionEvent, SessionMessage,
    Usage, UserMessage, UserMeta,
};
use hallway_core::relay::raw::{Number, Raw, Text};
use hallway_core::relay::rpc::{
    self as invalid, self, Bounds, Call, Invalid, Invocation, Method, Parameter, Place, Request,
    UnknownMethod,
};
use hallway_core::relay::socketio::{self, AckId, Args, ReservedName};
use hallway_core::relay::update::{
    self, Ephemeral, MachineRow, SessionRow, StoredMessage, Update, VersionedValue,
};
use hallway_core::relay::versioned::{
    self, Attempt, Rejection, UpdateError, UpdateId, Value, Versioned,
};
use hallway_core::relay::{base64, delays, events, pairing};

use crate::surface::{Root, Sum, derived, roots};

/// What an iterator of the outbox gives, to any visitor.
fn outbox_batch(outbox: &Outbox, visit: fn((&str, &str))) {
    outbox.batch().for_each(visit);
}

/// The elements of an array, to any visitor.
fn raw_each_element<'a>(raw: Raw<'a>, visit: fn(Raw<'a>) -> bool) -> Option<()> {
    raw.each_element(visit)
}

/// A merge by any function.
fn client_merge(
    client: &mut Client,
    merge: Merge,
    nonce: Nonce,
    now: Instant,
    change: fn(Option<&Document>) -> Change,
) {
    client.merge(merge, nonce, now, change);
}

roots! { HALLWAY_RELAY_LIMITS:
    Limits::builder, Limits::worst_case_bytes, <Limits as Default>::default,
    LimitsBuilder::build, LimitsBuilder::set,
    Limits::max_frame_bytes, LimitsBuilder::max_frame_bytes,
    Limits::max_queued_frames, LimitsBuilder::max_queued_frames,
    Limits::max_queued_bytes, LimitsBuilder::max_queued_bytes,
    Limits::max_pending_acks, LimitsBuilder::max_pending_acks,
    Limits::max_owed_acks, LimitsBuilder::max_owed_acks,
    Limits::max_outbox_messages, LimitsBuilder::max_outbox_messages,
    Limits::max_outbox_bytes, LimitsBuilder::max_outbox_bytes,
    Limits::max_batch_messages, LimitsBuilder::max_batch_messages,
    Limits::max_batch_bytes, LimitsBuilder::max_batch_bytes,
    Limits::max_page_messages, LimitsBuilder::max_page_messages,
    Limits::max_page_bytes, LimitsBuilder::max_page_bytes,
    Limits::max_own_numbers, LimitsBuilder::max_own_numbers,
    Limits::max_vain_fetches, LimitsBuilder::max_vain_fetches,
    Limits::max_seen_nonces, LimitsBuilder::max_seen_nonces,
    Limits::max_updates, LimitsBuilder::max_updates,
    Limits::max_merges, LimitsBuilder::max_merges,
    Limits::max_value_bytes, LimitsBuilder::max_value_bytes,
    Limits::max_methods, LimitsBuilder::max_methods,
    Limits::max_registrations, LimitsBuilder::max_registrations,
    Limits::connect_timeout, LimitsBuilder::connect_timeout,
    Limits::join_timeout, LimitsBuilder::join_timeout,
    Limits::probe_interval, LimitsBuilder::probe_interval,
    Limits::probe_timeout, LimitsBuilder::probe_timeout,
    Limits::ack_timeout, LimitsBuilder::ack_timeout,
    Limits::answer_timeout, LimitsBuilder::answer_timeout,
    Limits::post_timeout, LimitsBuilder::post_timeout,
    Limits::fetch_timeout, LimitsBuilder::fetch_timeout,
    Limits::update_timeout, LimitsBuilder::update_timeout,
    Limits::register_timeout, LimitsBuilder::register_timeout,
    Limits::alive_interval, LimitsBuilder::alive_interval,
    Limits::end_timeout, LimitsBuilder::end_timeout,
    Limits::sleep_lateness, LimitsBuilder::sleep_lateness,
}

roots! { HALLWAY_RELAY_RAW:
    Raw::parse, Raw::as_str, Raw::is_null, Raw::is_object, Raw::is_array, Raw::is_number,
    Raw::text, Raw::boolean, Raw::unsigned, Raw::number, Raw::get, Raw::pick::<1>, Raw::pick::<4>,
    raw_each_element, Raw::elements::<1>, Raw::elements::<3>,
    Text::new, Text::raw, Text::to_unicode, Text::to_lossy, Text::is, Text::into_owned,
    <Text<'static> as From<&str>>::from,
}

roots! { HALLWAY_RELAY_CODECS:
    engineio::Packet::decode, engineio::Packet::write, engineio::Packet::encode,
    Handshake::patience, <engineio::Violation as Display>::fmt,
    AckId::parse, AckId::get, AckId::digits, Args::parse, Args::raw, Args::name, Args::argument,
    socketio::Packet::root, socketio::Packet::decode, socketio::Packet::write,
    socketio::Packet::encode, socketio::write_event, socketio::write_ack,
    <socketio::Violation as Display>::fmt, <ReservedName as Display>::fmt,
    base64::encode, base64::encode_url, base64::decode,
    delays::reconnection_delay, delays::retry_delay, delays::max_retry_delay,
    path::confine, <Outside<'static> as Display>::fmt,
    events::message, events::update_metadata, events::update_state, events::session_alive,
    events::session_end, events::machine_alive, events::rpc_method,
    events::machine_update_metadata, events::machine_update_state,
    Request::parse, Request::method_in, Request::open, rpc::Refusal::text, rpc::error,
    Method::name, <Method as core::str::FromStr>::from_str, <UnknownMethod as Display>::fmt,
    Place::named, Place::below, Call::parse, Parameter::name, Invalid::answer,
    <Invalid<'static> as Display>::fmt, invalid::failure, invalid::not_run,
    update::Body::parse, Update::parse, Update::to_json, VersionedValue::parse,
    VersionedValue::to_json, StoredMessage::parse, StoredMessage::to_json,
    StoredMessage::sealed, SessionRow::parse, SessionRow::to_json, MachineRow::parse,
    MachineRow::to_json, Ephemeral::parse,
    Ephemeral::to_json,
}

roots! { HALLWAY_RELAY_KEYS:
    AccountSecret::from_bytes, AccountSecret::from_slice, AccountSecret::from_base64,
    AccountSecret::expose, <AccountSecret as Debug>::fmt,
    DataKey::from_bytes, DataKey::from_slice, DataKey::from_base64, DataKey::expose,
    <DataKey as Debug>::fmt,
    BlobKey::from_bytes, BlobKey::from_slice, BlobKey::from_base64, BlobKey::expose,
    <BlobKey as Debug>::fmt,
    KeyNode::root, KeyNode::child, KeyNode::derive, KeyNode::expose_key,
    KeyNode::expose_chain_code, <KeyNode as Debug>::fmt,
    AccountSecret::content_key_pair, AccountSecret::blob_key, AccountSecret::signing_public_key,
    AccountSecret::sign, AccountSecret::authentication, DataKey::blob_key,
    PublicKey::from_bytes, PublicKey::from_base64, PublicKey::as_bytes,
    BoxKeyPair::from_secret, BoxKeyPair::from_seed, BoxKeyPair::public,
    BoxKeyPair::expose_secret, <BoxKeyPair as Debug>::fmt,
    core::ptr::drop_in_place::<BoxKeyPair>, core::ptr::drop_in_place::<KeyNode>,
}

roots! { HALLWAY_RELAY_CIPHER:
    Nonce::from_entropy, <OpenError as Display>::fmt, <SealError as Display>::fmt,
    Plaintext::raw, Cipher::overhead, Cipher::seal, Cipher::seal_text, Cipher::open,
    Cipher::open_text, <Cipher as Debug>::fmt, BlobKey::seal, BlobKey::open,
    cipher::seal_bundle, cipher::open_bundle, cipher::wrap_data_key, cipher::unwrap_data_key,
    pairing::Answer::open, pairing::Answer::seal, <pairing::Answer as Debug>::fmt,
    pairing::public_key, pairing::terminal_url, pairing::web_url, pairing::account_url,
    core::ptr::drop_in_place::<Cipher>,
}

roots! { HALLWAY_RELAY_CREDENTIALS:
    Keys::content_key, Keys::content_pair, Keys::machine_cipher, Keys::variant,
    <Keys as Debug>::fmt, <Malformed as Display>::fmt, Credentials::parse, Credentials::to_json,
    <Credentials as Debug>::fmt, Settings::document, Settings::of, <Settings as Debug>::fmt,
    <Settings as PartialEq>::eq, SessionKey::parse, SessionKey::to_json,
    <SessionKey as Debug>::fmt, core::ptr::drop_in_place::<Credentials>,
}

roots! { HALLWAY_RELAY_PLAINTEXT:
    SessionMessage::parse, AgentMessage::new, AgentMessage::parse, AgentMessage::to_json,
    AgentContent::parse, AgentContent::to_json, SessionEvent::parse, SessionEvent::to_json,
    AcpData::parse, AcpData::to_json, AcpData::token_count,
    ClaudeLine::parse, ClaudeLine::to_json, ClaudeMessage::parse, ClaudeMessage::to_json,
    AssistantMessage::parse, AssistantMessage::to_json, claude::claude_message,
    Document::parse, Document::raw, Document::get, Document::set, Document::remove,
    Document::set_summary, Document::set_lifecycle, Document::set_controlled_by_user,
    Document::add_request, Document::complete_request, <Document as Default>::default,
    Completion::parse, Completion::to_json, Usage::parse, Usage::to_json, Usage::report,
    UserMessage::new, UserMessage::parse, UserMessage::to_json, UserMeta::parse,
    UserMeta::to_json,
}

roots! { HALLWAY_RELAY_CURSOR:
    Cursor::new, Cursor::last, Cursor::is_settled, Cursor::room_for_own, Cursor::handle_connected, Cursor::handle_live,
    Cursor::handle_sent, Cursor::next_fetch, Cursor::handle_fetched, Cursor::handle_page_end,
    Cursor::handle_failed, Cursor::is_fetching, Cursor::handle_known, Cursor::poll_timeout,
    Cursor::handle_timeout, core::ptr::drop_in_place::<Cursor>,
}

roots! { HALLWAY_RELAY_OUTBOX:
    Outbox::new, Outbox::push, Outbox::len, Outbox::is_empty, Outbox::stopped,
    Outbox::next_batch, Outbox::next_batch_of, outbox_batch, Outbox::body, Outbox::handle_stored,
    Outbox::handle_failed, Outbox::handle_seen, Outbox::contains, Outbox::posting,
    Outbox::handle_too_large, Outbox::resume, Outbox::poll_timeout, Outbox::handle_timeout,
    <PushError as Display>::fmt, core::ptr::drop_in_place::<Outbox>,
}

roots! { HALLWAY_RELAY_VERSIONED:
    Value::open, versioned::Answer::parse, <UpdateError as Display>::fmt,
    Versioned::new, Versioned::value, Versioned::version, Versioned::is_settled,
    Versioned::request, Versioned::next_attempt, Versioned::handle_unchanged,
    Versioned::handle_unsendable, Versioned::handle_answer, Versioned::handle_value,
    Versioned::handle_fetched, Versioned::handle_connected, Versioned::handle_disconnected,
    Versioned::handle_gone, Versioned::close, Versioned::poll_outcome, Versioned::poll_timeout,
    Versioned::handle_timeout, core::ptr::drop_in_place::<Versioned>,
}

roots! { HALLWAY_RELAY_LINK:
    Auth::session, Auth::machine, Auth::user, <Auth as Debug>::fmt, <Auth as PartialEq>::eq,
    <link::Violation as Display>::fmt, link::Refusal::retries, <link::Refusal as Display>::fmt,
    <Cause as Display>::fmt, <CloseReason as Display>::fmt, Status::retries,
    <AckFailure as Display>::fmt, <EmitError as Display>::fmt,
    Link::new, Link::connect, Link::reconnect, Link::close, Link::handle_opened,
    Link::handle_dial_failed, Link::handle_closed, Link::handle_message_too_long,
    Link::handle_binary, Link::handle_message, Link::handle_bytes, Link::handle_wake,
    Link::poll_timeout, Link::handle_timeout, Link::poll_action, Link::poll_event,
    Link::poll_transmit, Link::handle_transmitted, Link::status, Link::transport, Link::is_open,
    Link::queued, Link::ignored, Link::emit, Link::emit_volatile, Link::emit_with_ack,
    Link::answer, Link::max_frame_bytes, Link::has_room_for_ack,
    core::ptr::drop_in_place::<Link>,
}

roots! { HALLWAY_RELAY_CLIENT:
    Message::body, <Unreadable as Display>::fmt, <SendError as Display>::fmt, Scope::session,
    Scope::machine, Scope::auth, Scope::kind, <Scope as Debug>::fmt, <Client as Debug>::fmt,
    Client::new, Client::connect, Client::listen, Client::reconnect, Client::close,
    Client::resume, Client::handle_opened, Client::handle_dial_failed, Client::handle_closed,
    Client::handle_message_too_long, Client::handle_binary, Client::handle_message,
    Client::handle_bytes, Client::handle_wake, Client::poll_transmit,
    Client::handle_transmitted, Client::post_body, Client::handle_posted,
    Client::handle_post_failed, Client::handle_page, Client::handle_fetch_failed,
    Client::poll_timeout, Client::handle_timeout, Client::poll_action, Client::poll_event,
    Client::cursor, Client::unsent, Client::status, Client::close_reason, Client::route,
    Client::id, Client::kind, Client::machine_alive, Client::limits, Client::send_claude, Client::send_usage,
    Client::send_codex, Client::send_acp, Client::send_event, Client::send, Client::keep_alive, Client::end, Client::register,
    Client::unregister, Client::is_registered, Client::answer_rpc, Client::refuse_rpc,
    Client::value, Client::request_update, client_merge, Client::handle_row,
    core::ptr::drop_in_place::<Client>,
}

derived! { HALLWAY_RELAY_DERIVED:
    Limits, LimitsBuilder, Raw<'static>, Number, Text<'static>, engineio::Packet<'static>,
    Handshake<'static>, engineio::Violation, AckId<'static>, Args<'static>,
    socketio::Packet<'static>, socketio::Body<'static>, socketio::Violation, ReservedName,
    Outside<'static>, Request<'static>, rpc::Refusal, Method, UnknownMethod, Place,
    Call, Parameter, Invalid<'static>, Invocation, Bounds<'static>, update::Body<'static>, Update<'static>,
    VersionedValue<'static>, StoredMessage<'static>, SessionRow<'static>, MachineRow<'static>, Ephemeral<'static>,
    Field<Text<'static>>, PublicKey, OpenError, SealError, Plaintext, SessionMessage<'static>,
    AgentMessage<'static>, AgentContent<'static>, SessionEvent<'static>, AcpData<'static>,
    ClaudeLine<'static>, ClaudeMessage<'static>, AssistantMessage<'static>, Outgoing<'static>,
    Document, Completion<'static>, Usage<'static>, Reported<'static>, UserMessage<'static>,
    UserMeta<'static>, FetchId, cursor::Fetch, Verdict, InvalidPage, Withheld, Cursor, BatchId,
    PushError, PostFailure, StopReason, outbox::Outcome, InvalidAnswer, Outbox, UpdateId, Value,
    Attempt, versioned::Answer, versioned::Outcome, Rejection, UpdateError, Versioned, link::Action,
    link::Violation, link::Refusal, Cause, CloseReason, Status, Asked, Owed, AckFailure, Ignored,
    EmitError, Auth, Link, Route, Target, Kind, Merge, Change, client::Fetch, client::Action, Message,
    Unreadable, SendError, Malformed,
}

roots! { HALLWAY_RELAY_DERIVED_TEXTS:
    <link::Event<'static> as Debug>::fmt, <link::Event<'static> as PartialEq>::eq,
    <client::Event<'static> as Debug>::fmt, <client::Event<'static> as PartialEq>::eq,
    <Nonce as Debug>::fmt,
}
