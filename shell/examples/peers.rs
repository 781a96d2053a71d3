//! Who is there, and whether they answer.
//!
//! ```sh
//! cargo run --example peers
//! ```

use std::error::Error;

use hallway::Home;
use hallway::local::peers::{self, Standing};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let home = Home::from_process()?;
    // The registry alone: nobody is asked, and the dead are told from the living.
    let mut found = peers::all(&home)?;
    // All of them at once, each with its own deadline.
    peers::probe(&home, &mut found).await;
    for peer in &found {
        // Names are other programs' texts: `{:?}` shows them without obeying them.
        let name = peer.name.as_deref().unwrap_or("without a name");
        let standing = match &peer.standing {
            Standing::Reachable { after } => format!("answers after {after:?}"),
            Standing::Live => "was not asked".to_owned(),
            Standing::Unreachable { why } => format!("lives, but: {why:?}"),
            Standing::Absent { why } => format!("is not there: {why:?}"),
            other => format!("{other:?}"),
        };
        println!("process {} ({name:?}) {standing}", peer.pid);
    }
    println!("{} sessions are announced", found.len());
    Ok(())
}
