//! A whole [`Connection`] with its inbox against the oracle, over every way to cut its input.

use hallway_core::local::connection::{Connection, Event, Server};
use hallway_core::local::inbox::{Inbox, Peer};
use hallway_core::{Instant, Token, UnixTime};

use super::oracle::{Meaning, meaning};
use super::{LIMIT, limits};

/// Pieces of lines: both halves of a ping and of a message, what ends them, blanks, and what
/// is refused.
pub const PIECES: &[&str] = &[
    "{\"type\":\"ping\",",
    "{\"data\":\"é\",",
    "\"meta\":{\"authToken\":\"T\"}}",
    "\n",
    "\r",
    "{}",
];

const PEER: Peer = Peer { uid: 1, pid: 2 };

/// A connection that was fed an input.
#[derive(Clone)]
struct Run {
    connection: Connection,
    inbox: Inbox,
    input: String,
    held: Vec<u8>,
    replies: Vec<u8>,
}

impl Run {
    fn end(&mut self, server: &Server) {
        let (now, wall) = (Instant::ORIGIN, UnixTime::EPOCH);
        let spare = self.connection.spare_mut();
        let n = spare.len().min(self.held.len());
        spare
            .iter_mut()
            .zip(&self.held)
            .for_each(|(to, from)| *to = *from);
        self.held.clear();
        self.connection.handle_input(n, now);
        while let Some(event) = self.connection.handle_frame(server, now, wall) {
            if let Event::MessageReceived(kept) = event {
                let id = self.inbox.push(kept, PEER, wall).ok();
                self.connection.handle_enqueued(id, now, wall);
            }
        }
        self.replies.extend_from_slice(self.connection.pending());
        let written = self.connection.pending().len();
        self.connection.handle_output(written, now);
    }

    fn compare(&mut self, server: &Server) {
        self.end(server);
        let (replies, kept) = answers(&self.input);
        let input = &self.input;
        assert_eq!(String::from_utf8_lossy(&self.replies), replies, "{input:?}");
        let entries = self.inbox.pending(None).map(|entry| entry.message());
        assert!(entries.eq(kept.iter().map(String::as_str)), "{input:?}");
    }
}

/// What the wire contract answers to a whole input, and what it keeps of it.
fn answers(input: &str) -> (String, Vec<String>) {
    let ts = UnixTime::EPOCH;
    let (mut replies, mut kept) = (String::new(), Vec::new());
    let mut error = None;
    let Some((lines, _)) = input.rsplit_once('\n') else {
        return (replies, kept);
    };
    for line in lines.split('\n') {
        match meaning(line) {
            Meaning::Blank => {}
            Meaning::Invalid => error = Some("invalid frame"),
            Meaning::NoObject => error = Some("unauthorized"),
            Meaning::Message { token, .. } if token.as_deref() != Some("T") => {
                error = Some("unauthorized");
            }
            Meaning::Message { is_ping: true, .. } => {
                replies += &format!("{{\"type\":\"pong\",\"from\":\"/s\",\"ts\":\"{ts}\"}}\n");
            }
            Meaning::Message { kept: text, .. } => {
                kept.push(text);
                replies += &format!(
                    "{{\"type\":\"response\",\"data\":\"ok\",\"ts\":\"{ts}\",\"meta\":{{\"id\":\"uds-{}\"}}}}\n",
                    kept.len()
                );
            }
        }
        if let Some(error) = error {
            replies += &format!("{{\"type\":\"error\",\"data\":\"{error}\",\"ts\":\"{ts}\"}}\n");
            break;
        }
    }
    (replies, kept)
}

/// Every string of at most `most` pieces, in every way to cut it between pieces and in the
/// middle of the character of two bytes.
///
/// # Panics
///
/// When the answers, or what is kept, differ from what the whole input asks for.
pub fn every_cut(most: usize) -> u64 {
    let server = Server::new("/s", Token::parse("T").expect("it is a token"));
    let longest = PIECES.iter().map(|piece| piece.len()).max().unwrap_or(0);
    assert!(longest * most <= LIMIT, "no input reaches the limit");
    let run = Run {
        connection: Connection::new(&limits(), Instant::ORIGIN),
        inbox: Inbox::new(&limits()),
        input: String::new(),
        held: Vec::new(),
        replies: Vec::new(),
    };
    extend(run, most, &server)
}

fn extend(mut run: Run, left: usize, server: &Server) -> u64 {
    let mut count = 1;
    if left > 0 {
        for piece in PIECES {
            // Within a character, where there is one of two bytes, or nowhere.
            let within = piece.find('é').map(|at| at + 1);
            for cut in [None, within]
                .into_iter()
                .skip(usize::from(within.is_none()))
            {
                for ends in [false, true] {
                    let mut next = run.clone();
                    let (head, tail) = piece.as_bytes().split_at(cut.unwrap_or(0));
                    next.held.extend_from_slice(head);
                    if cut.is_some() {
                        next.end(server);
                    }
                    next.held.extend_from_slice(tail);
                    next.input.push_str(piece);
                    if ends {
                        next.end(server);
                    }
                    count += extend(next, left - 1, server);
                }
            }
        }
    }
    run.compare(server);
    count
}
