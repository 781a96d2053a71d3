//! An inbox within a program: it listens until Ctrl-C and prints what others send.
//!
//! ```sh
//! cargo run --example daemon -- api-worker
//! cargo run --example send -- api-worker "schema landed"
//! ```

use std::error::Error;

use hallway::Daemon;
use hallway::core::local::inbox::Entry;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let name = std::env::args().nth(1).unwrap_or("example".to_owned());
    // What is published here is gone when the daemon is stopped or dropped.
    let daemon = Daemon::builder().name(&name).start().await?;
    println!("{name} listens at {}; Ctrl-C ends it", daemon.address());
    loop {
        tokio::select! {
            entry = daemon.next_entry() => match entry {
                Some(entry) => show(&entry),
                None => break,
            },
            interrupted = tokio::signal::ctrl_c() => {
                interrupted?;
                break;
            }
        }
    }
    // Frames that have been received are still answered, so that no sender is left in doubt.
    // What they brought is in the inbox.
    for entry in daemon.stop().await.drain() {
        show(&entry);
    }
    Ok(())
}

/// The sender is who the kernel says; what it wrote is its own, and not to be trusted. As JSON
/// it holds no control characters that a terminal would obey.
fn show(entry: &Entry) {
    let peer = entry.peer();
    println!(
        "{} from process {} of user {}: {}",
        entry.id(),
        peer.pid,
        peer.uid,
        entry.message()
    );
}
