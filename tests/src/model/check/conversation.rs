use hallway_core::Mailbox;
use hallway_core::local::connection::{Action, Connection, Event, Server};
use hallway_core::local::inbox::{Entry, EntryId, Peer};

use super::inbox::entry_id;
use super::{at, ending, plan, server};
use crate::model::conversation::{Conversation, WALL, converse};
use crate::model::frames::Rules;
use crate::model::generate;
use crate::model::source::Source;

const PEER: Peer = Peer { uid: 1_000, pid: 7 };

/// The same bytes, in any cuts and with any interleaving of reads, writes and timeouts, give the
/// answers, the inbox and the ending of the model.
///
/// # Panics
///
/// When they do not.
pub fn check_conversation(bytes: &[u8]) {
    let mut source = Source::Bytes(bytes);
    let mut plan = plan(&mut source);
    let mut rules = generate::rules(&mut plan);
    let drain = plan.pick(&[0, 1, 3]);
    let mut input = if plan.once_in(3) {
        source.rest().to_vec()
    } else {
        generate::stream(&mut source, &rules)
    };
    if plan.once_in(64) {
        input = generate::padded(&input);
        rules.limits = generate::wide_limits();
    }
    let expected = converse(&input, &rules, PEER.pid, drain);
    let found = Run::new(&rules, drain).finish(&input, &mut plan);
    assert_eq!(found, expected, "of {:?}", String::from_utf8_lossy(&input));
}

/// One run of the core's machines.
struct Run {
    server: Server,
    connection: Connection,
    mailbox: Mailbox,
    drain: usize,
    kept: Vec<Entry>,
    replies: Vec<u8>,
    now: u64,
    /// Whether the transport was told to close.
    hung_up: bool,
}

impl Run {
    fn new(rules: &Rules, drain: usize) -> Self {
        Self {
            server: server(rules),
            connection: Connection::new(&rules.limits, at(0)),
            mailbox: Mailbox::new(&rules.limits),
            drain,
            kept: Vec::new(),
            replies: Vec::new(),
            now: 0,
            hung_up: false,
        }
    }

    fn finish(mut self, input: &[u8], plan: &mut Source<'_>) -> Conversation {
        let mut cuts = generate::cuts(plan, input.len()).into_iter();
        let (mut rest, mut cut, mut ended) = (input, 0, false);
        for _ in 0..100 * (input.len() + 100) {
            match plan.below(7) {
                0..=2 if rest.is_empty() => {
                    if !std::mem::replace(&mut ended, true) {
                        self.connection.handle_end_of_input();
                    }
                }
                0..=2 => {
                    cut = if cut == 0 {
                        cuts.next().unwrap_or(1)
                    } else {
                        cut
                    };
                    let n = self.read(&rest[..cut]);
                    rest = &rest[n..];
                    cut -= n;
                }
                3 | 4 => self.take(plan.pick(&[usize::MAX, 1, 2])),
                5 => self.write(plan.pick(&[usize::MAX, 1, 50])),
                _ => self.disturb(plan),
            }
            if self.hung_up {
                break;
            }
        }
        assert!(self.connection.is_closed(), "the conversation does not end");
        self.kept.extend(self.mailbox.drain());
        let ids: Vec<_> = self.kept.iter().map(Entry::id).collect();
        let counted = (1..=ids.len()).map(entry_id);
        assert_eq!(ids, counted.collect::<Vec<_>>(), "ids have no gaps");
        Conversation {
            replies: String::from_utf8(self.replies).expect("replies are text"),
            kept: self
                .kept
                .iter()
                .map(|entry| entry.message().to_owned())
                .collect(),
            ending: ending(self.connection.close_reason().expect("a reason")),
        }
    }

    fn read(&mut self, bytes: &[u8]) -> usize {
        let spare = self.connection.spare_mut();
        let n = spare.len().min(bytes.len());
        spare[..n].copy_from_slice(&bytes[..n]);
        self.connection.handle_input(n, at(self.now));
        n
    }

    fn take(&mut self, most: usize) {
        for _ in 0..most {
            let now = at(self.now);
            let Some(event) = self.connection.handle_frame(&self.server, now, WALL) else {
                return;
            };
            let Event::MessageReceived(kept) = event else {
                continue;
            };
            let id = self.mailbox.push(kept, PEER, WALL).ok();
            self.connection.handle_enqueued(id, now, WALL);
            let count = id.map_or(0, EntryId::get) as usize;
            if count > 0 && self.drain > 0 && count.is_multiple_of(self.drain) {
                self.kept.extend(self.mailbox.drain());
            }
        }
    }

    fn write(&mut self, most: usize) {
        let n = self.connection.pending().len().min(most);
        self.replies
            .extend_from_slice(&self.connection.pending()[..n]);
        self.connection.handle_output(n, at(self.now));
    }

    /// What must not matter: timeouts that are not due, pauses, time that is not up, and when
    /// actions are asked for.
    fn disturb(&mut self, plan: &mut Source<'_>) {
        match plan.below(4) {
            0 => self.connection.handle_timeout(at(self.now), WALL),
            1 => self.connection.handle_input_drained(),
            2 if self
                .connection
                .poll_timeout()
                .is_some_and(|due| at(self.now + 1) < due) =>
            {
                self.now += 1;
            }
            _ => {
                let flushed = self.connection.pending().is_empty();
                match self.connection.poll_action() {
                    Some(Action::Hangup) => self.hung_up = true,
                    Some(Action::FinishOutput) => assert!(flushed, "the output ends too early"),
                    None => {}
                }
            }
        }
    }
}
