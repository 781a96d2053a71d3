use hallway_core::admission::Evicted;
use hallway_core::{Admission, ClientId, Limits};

use super::{FIELDS, footprint, plan};
use crate::model::generate;
use crate::model::source::Source;

/// What a client is to the gate.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Standing {
    Waiting,
    Served,
    Refused,
}

/// Every client the gate knows, oldest first.
type Book = Vec<(ClientId, u32, Standing)>;

/// The gate lets in, evicts and refuses whom the quotas say (local.md §1, §5.5): the oldest that
/// has not authenticated makes room, a process at its quota displaces only itself, and those who
/// may stay to read why are bounded too.
///
/// # Panics
///
/// When it does not.
pub fn check_admission(bytes: &[u8]) {
    let mut source = Source::Bytes(bytes);
    let mut plan = plan(&mut source);
    let limits = generate::limits(&mut plan);
    let mut admission = Admission::new(&limits);
    let (mut book, mut last) = (Book::new(), None);
    // Those who are gone, and how many of them were shown to the gate again.
    let (mut gone, mut checked) = (Vec::new(), 0);
    while !source.is_empty() {
        match source.below(6) {
            0..3 => {
                let peer = source.pick(&[1, 2, 3]);
                let newest = admit(&mut admission, &mut book, &limits, peer, &mut gone);
                if let Some(id) = newest {
                    assert!(last < Some(id), "numbers rise");
                    last = Some(id);
                }
            }
            3 | 4 if !book.is_empty() => {
                let at = source.below(book.len());
                admission.handle_authenticated(book[at].0);
                if book[at].2 == Standing::Waiting {
                    book[at].2 = Standing::Served;
                }
            }
            _ if !book.is_empty() => {
                let at = source.below(book.len());
                let (id, _, _) = book.remove(at);
                admission.release(id);
                gone.push(id);
            }
            _ => {}
        }
        check_gone(&mut admission, &gone[checked..]);
        checked = gone.len();
        agree(&admission, &book, &limits);
    }
    check_gone(&mut admission, &gone);
}

/// Who is gone stays gone.
fn check_gone(admission: &mut Admission, gone: &[ClientId]) {
    if gone.is_empty() {
        return;
    }
    let before = admission.clone();
    for id in gone {
        admission.release(*id);
        admission.handle_authenticated(*id);
    }
    assert_eq!(*admission, before, "who is gone stays gone");
}

/// Admits one client and returns its number, if it got one.
fn admit(
    admission: &mut Admission,
    book: &mut Book,
    limits: &Limits,
    peer: u32,
    gone: &mut Vec<ClientId>,
) -> Option<ClientId> {
    let is_waiting = |of: Option<u32>| {
        move |client: &(ClientId, u32, Standing)| {
            client.2 == Standing::Waiting && of.is_none_or(|peer| peer == client.1)
        }
    };
    let served = |of: Option<u32>| {
        let is_served = |client: &&(ClientId, u32, Standing)| {
            client.2 != Standing::Refused && of.is_none_or(|peer| peer == client.1)
        };
        book.iter().filter(is_served).count()
    };
    let waiting = book
        .iter()
        .filter(|client| is_waiting(None)(client))
        .count();
    // Whose oldest silent client has to make room: this process's own, or anybody's.
    let crowded = if served(Some(peer)) >= limits.max_clients_per_peer() {
        Some(Some(peer))
    } else if served(None) >= limits.max_clients()
        || waiting >= limits.max_unauthenticated_clients()
    {
        Some(None)
    } else {
        None
    };
    let refused = book
        .iter()
        .filter(|client| client.2 == Standing::Refused)
        .count();
    let may_linger = refused < limits.max_refused_clients();
    let victim = crowded.map(|of| book.iter().position(is_waiting(of)));
    match (admission.admit(peer), victim) {
        (Ok(admitted), None) => {
            assert_eq!(admitted.evicted, None);
            book.push((admitted.id, peer, Standing::Waiting));
            Some(admitted.id)
        }
        (Ok(admitted), Some(Some(at))) => {
            let id = book[at].0;
            assert_eq!(admitted.evicted, Some(Evicted { id, may_linger }));
            book[at].2 = Standing::Refused;
            if !may_linger {
                book.remove(at);
                gone.push(id);
            }
            book.push((admitted.id, peer, Standing::Waiting));
            Some(admitted.id)
        }
        (Err(refused), Some(None)) => {
            assert_eq!(refused.id.is_some(), may_linger);
            book.extend(refused.id.map(|id| (id, peer, Standing::Refused)));
            refused.id
        }
        (found, victim) => panic!("{found:?}, but {victim:?}"),
    }
}

fn agree(admission: &Admission, book: &Book, limits: &Limits) {
    let count = |standing| book.iter().filter(|client| client.2 == standing).count();
    let (waiting, refused) = (count(Standing::Waiting), count(Standing::Refused));
    assert_eq!(admission.unauthenticated(), waiting);
    assert_eq!(admission.refused(), refused);
    assert_eq!(admission.served(), waiting + count(Standing::Served));
    assert!(admission.served() <= limits.max_clients());
    assert!(waiting <= limits.max_unauthenticated_clients());
    assert!(refused <= limits.max_refused_clients());
    assert!(footprint(admission) <= 64 * book.len() + FIELDS);
}
