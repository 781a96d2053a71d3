//! Work on many items, shared between threads.

use std::num::NonZero;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, ScopedJoinHandle};

/// How many threads work at most.
const MAX_THREADS: usize = 4;
/// How many items a thread takes at a time.
const SHARE: usize = 64;

/// What `work` makes of each item, in their order.
pub(crate) fn map<T: Sync, U: Send>(items: &[T], work: impl Fn(&T) -> Option<U> + Sync) -> Vec<U> {
    let cores = thread::available_parallelism().map_or(1, NonZero::get);
    map_by(cores.min(MAX_THREADS), items, work)
}

fn map_by<T: Sync, U: Send>(
    threads: usize,
    items: &[T],
    work: impl Fn(&T) -> Option<U> + Sync,
) -> Vec<U> {
    let shares: Vec<_> = items.chunks(SHARE).collect();
    let next = AtomicUsize::new(0);
    // Each takes the next share that nobody has, so none waits long for another.
    let take = || {
        let mut done = Vec::new();
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(share) = shares.get(at) else {
                return done;
            };
            done.push((at, share.iter().filter_map(&work).collect::<Vec<_>>()));
        }
    };
    let helpers = threads.min(shares.len()).saturating_sub(1);
    let mut done = thread::scope(|scope| {
        // Without a thread to spare, those that there are do it all.
        let spawn = |_| thread::Builder::new().spawn_scoped(scope, take).ok();
        let helpers: Vec<_> = (0..helpers).filter_map(spawn).collect();
        let mut done = take();
        for helper in helpers.into_iter().map(ScopedJoinHandle::join) {
            match helper {
                Ok(others) => done.extend(others),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        done
    });
    done.sort_unstable_by_key(|(at, _)| *at);
    done.into_iter().flat_map(|(_, share)| share).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::sync::{Barrier, Mutex};

    #[test]
    fn what_is_shared_keeps_its_order() {
        for count in [0, 1, SHARE - 1, SHARE, SHARE + 1, 3 * SHARE + 1, 20 * SHARE] {
            let items: Vec<_> = (0..count).collect();
            let odd = map(&items, |item| (item % 2 == 1).then_some(item * 2));
            let expected: Vec<_> = items
                .iter()
                .filter(|item| *item % 2 == 1)
                .map(|item| item * 2)
                .collect();
            assert_eq!(odd, expected);
        }
    }

    #[test]
    fn threads_take_turns_and_the_order_stays() {
        let items: Vec<_> = (0..9 * SHARE).collect();
        let (all, workers) = (Barrier::new(3), Mutex::new(BTreeSet::new()));
        let same = map_by(3, &items, |item| {
            // Each of the three is at a share of its own, three times.
            if item % SHARE == 0 {
                all.wait();
                let id = format!("{:?}", thread::current().id());
                workers.lock().unwrap().insert(id);
            }
            Some(*item)
        });
        assert_eq!(same, items);
        assert_eq!(workers.into_inner().unwrap().len(), 3);
    }

    #[test]
    #[should_panic(expected = "in another thread")]
    fn a_panic_of_any_thread_is_not_lost() {
        let items: Vec<_> = (0..2 * SHARE).collect();
        let (both, main) = (Barrier::new(2), thread::current().id());
        map_by(2, &items, |item| {
            if item % SHARE == 0 {
                both.wait();
            }
            assert_eq!(thread::current().id(), main, "in another thread");
            Some(())
        });
    }
}
