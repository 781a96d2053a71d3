use hallway_core::{Outbox, OutboxFull};

use super::{FIELDS, footprint, plan};
use crate::model::source::Source;

/// An outbox gives back what was pushed, in order, whatever the writes; it takes a run of bytes
/// whole or not at all, and holds no more than its bound.
///
/// # Panics
///
/// When it does not.
pub fn check_outbox(bytes: &[u8]) {
    let mut source = Source::Bytes(bytes);
    let mut plan = plan(&mut source);
    let max = plan.pick(&[16, 100, 5_000, 12_000]);
    let mut outbox = Outbox::new(max);
    let (mut all, mut written) = (Vec::<u8>::new(), 0);
    while !source.is_empty() {
        let byte = source.byte();
        match byte % 8 {
            0..4 => {
                let parts: Vec<Vec<u8>> = (0..source.below(3))
                    .map(|_| vec![byte; source.pick(&[1, 0, 7, 90, 4_096, max])])
                    .collect();
                let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
                let (run, before) = (parts.concat(), outbox.clone());
                let fits = all.len() - written + run.len() <= max;
                assert_eq!(
                    outbox.push(&parts),
                    if fits { Ok(()) } else { Err(OutboxFull) }
                );
                if fits {
                    all.extend_from_slice(&run);
                } else {
                    assert_eq!(outbox, before, "what does not fit changes nothing");
                }
            }
            4..7 => {
                let n = source
                    .pick(&[1, 0, 50, 4_000, usize::MAX])
                    .min(outbox.len());
                outbox.consume(n);
                written += n;
            }
            _ => {
                outbox.discard();
                all.truncate(written);
                assert!(footprint(&outbox) <= FIELDS, "memory is given back");
            }
        }
        assert_eq!(outbox.pending(), &all[written..]);
        assert_eq!(outbox.len(), all.len() - written);
        assert_eq!(outbox.room(), max - outbox.len());
        assert_eq!(outbox.is_empty(), all.len() == written);
        assert!(footprint(&outbox) <= max + FIELDS);
    }
}
