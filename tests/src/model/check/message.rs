use hallway_core::local::message::{Kind, Message, MessageError, is_blank};

use super::plan;
use crate::model::frames::{self, Frame};
use crate::model::generate;
use crate::model::json::{Json, Member, decode};
use crate::model::source::Source;

/// A frame is read as the model reads it: the same verdict, the same type, the same text kept.
///
/// # Panics
///
/// When it is not.
pub fn check_message(bytes: &[u8]) {
    let mut source = Source::Bytes(bytes);
    let mut plan = plan(&mut source);
    let rules = generate::rules(&mut plan);
    let frame = if plan.once_in(2) {
        source.rest().to_vec()
    } else {
        generate::line(&mut source, &rules)
    };
    assert_eq!(is_blank(&frame), frames::is_blank(&frame));
    if is_blank(&frame) {
        return;
    }
    let expected = frames::read(&frame, rules.limits.max_frame_depth());
    let shown = String::from_utf8_lossy(&frame);
    match (Message::parse(&frame, &rules.limits), expected) {
        (Err(MessageError::Invalid), Frame::Invalid)
        | (Err(MessageError::NotAnObject), Frame::NotAnObject) => {}
        (Ok(message), Frame::Object { is_ping, kept, .. }) => {
            assert_eq!(message.kind() == Kind::Ping, is_ping, "{shown}");
            assert_eq!(*message.kept().to_text(), *kept, "{shown}");
            assert_eq!(message.kept().len(), kept.len());
            assert!(
                kept.starts_with('{') && Json::read(&kept).is_some(),
                "{kept}"
            );
            check_kept(&shown, &kept);
        }
        (found, expected) => panic!("{shown}: {found:?}, but {expected:?}"),
    }
}

/// Whatever bytes were cut: what is kept has the members of the frame, in order
/// and as they were written, but for the token and an emptied `meta`.
fn check_kept(frame: &str, kept: &str) {
    let (mut before, mut after) = (members(frame), members(kept));
    let take_meta = |members: &mut Vec<Pair>| {
        let at = members
            .iter()
            .position(|(key, _)| decode(key).as_deref() == Some("meta"));
        at.map(|at| members.remove(at).1).unwrap_or_default()
    };
    let (meta_before, meta_after) = (take_meta(&mut before), take_meta(&mut after));
    assert_eq!(before, after);
    let mut inner = members(&meta_before);
    inner.retain(|(key, _)| decode(key).as_deref() != Some("authToken"));
    assert_eq!(inner, members(&meta_after));
}

type Pair = (String, String);

/// The members of an object as they are written; none of anything else.
fn members(text: &str) -> Vec<Pair> {
    let json = Json::read(text);
    let members = json.as_ref().and_then(Json::members).unwrap_or_default();
    let pair = |member: &Member<'_>| (member.key.to_owned(), member.value.to_owned());
    members.iter().map(pair).collect()
}
