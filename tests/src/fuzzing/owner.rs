//! The owner channel's questions and answers, against a reading of their table by the model's
//! own JSON.

use hallway_core::local::inbox::{EntryId, Inbox, Peer};
use hallway_core::local::message::{Kept, Message};
use hallway_core::local::owner::{NotAQuestion, Question, Reply};
use hallway_core::{Limits, UnixTime};

use crate::model::json::{Json, Member, decode, last};

/// Reads `bytes` as a question, as an answer, and as a message that becomes an answer.
///
/// # Panics
///
/// When one of them is not what the table says.
pub fn check_owner(bytes: &[u8]) {
    if let Ok(message) = Message::parse(bytes, &Limits::DEFAULT) {
        check_question(message.kept());
        check_entry(message.kept());
    }
    if let Ok(text) = std::str::from_utf8(bytes) {
        check_reply(text);
    }
}

fn check_question(kept: Kept<'_>) {
    let text = kept.to_text();
    let parsed = Question::parse(kept);
    assert_eq!(parsed, question(&text).ok_or(NotAQuestion), "{text}");
    if let Ok(question) = parsed {
        let asked = format!(
            r#"{{"type":"{}","data":{}}}"#,
            question.kind(),
            question.data()
        );
        let message = Message::parse(asked.as_bytes(), &Limits::DEFAULT).expect("a message");
        assert_eq!(Question::parse(message.kept()), Ok(question), "{asked}");
    }
}

/// Whatever a message says, its entry is an answer under the entry's own id.
fn check_entry(kept: Kept<'_>) {
    let mut inbox = Inbox::new(&Limits::DEFAULT);
    let peer = Peer { uid: 1, pid: 2 };
    let id = inbox
        .push(kept, peer, UnixTime::EPOCH)
        .expect("an empty inbox takes any message");
    let mut line = Vec::new();
    inbox.pop().expect("it is there").write_json(&mut line);
    let line = String::from_utf8(line).expect("an entry is text");
    assert_eq!(Reply::parse(&line), Ok(Reply::Entry(id)), "{line}");
}

fn check_reply(text: &str) {
    let parsed = Reply::parse(text);
    assert_eq!(parsed, reply(text).ok_or(NotAQuestion), "{text}");
    let again = match parsed {
        Ok(Reply::Attached) => Reply::ATTACHED.to_vec(),
        Ok(Reply::None) => Reply::NONE.to_vec(),
        Ok(Reply::Processed(count)) => {
            let mut line = Vec::new();
            Reply::write_processed(count, &mut line);
            line
        }
        Ok(Reply::Entry(_)) | Err(NotAQuestion) => return,
    };
    let again = String::from_utf8(again).expect("an answer is text");
    assert_eq!(Reply::parse(&again), parsed, "{again}");
}

/// The question that the message `text` asks, by the table of the owner channel.
fn question(text: &str) -> Option<Question> {
    let message = Json::read(text)?;
    let members = message.members()?;
    let data = last(members, "data").and_then(Json::read);
    let data = data.as_ref().and_then(Json::members).unwrap_or_default();
    match decode(last(members, "type")?)?.as_str() {
        "consume" => Some(Question::Consume),
        "next" => Some(Question::Next {
            after: match last(data, "after") {
                None => None,
                Some(raw) => Some(entry_id(raw)?),
            },
            wait: last(data, "wait") == Some("true"),
        }),
        "processed" => Some(Question::Processed(entry_id(last(data, "id")?)?)),
        _ => None,
    }
}

fn reply(text: &str) -> Option<Reply> {
    let object = Json::read(text)?;
    let members: &[Member<'_>] = object.members()?;
    match decode(last(members, "event")?)?.as_str() {
        "attached" => Some(Reply::Attached),
        "none" => Some(Reply::None),
        "message" => Some(Reply::Entry(entry_id(last(members, "id")?)?)),
        "processed" => Some(Reply::Processed(number(last(members, "count")?)?)),
        _ => None,
    }
}

/// `uds-<n>`, from 1, as the contract writes it.
fn entry_id(raw: &str) -> Option<EntryId> {
    let text = decode(raw)?;
    let digits = text.strip_prefix("uds-")?;
    let number = number(digits).filter(|number| *number > 0)?;
    (!digits.starts_with('0')).then_some(())?;
    let id = EntryId::parse(&text).expect("an id of the contract is taken");
    assert_eq!(id.get(), number);
    Some(id)
}

/// A number that is nothing but digits and fits.
fn number(digits: &str) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.chars().try_fold(0_u64, |sum, digit| {
        sum.checked_mul(10)?
            .checked_add(u64::from(digit.to_digit(10)?))
    })
}
