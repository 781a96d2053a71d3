//! Messages to another session, one after the other or many at once.
//!
//! ```sh
//! cargo run --example send -- api-worker "schema landed" "tests are green"
//! ```

use std::error::Error;

use hallway::core::local::exchange::{Answer, Data};
use hallway::{Client, SendFailure};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let target = arguments
        .next()
        .ok_or("whom to? a name, a pid, a session id or an address")?;
    // Finds the one session that is meant, or says why not.
    let mut client = Client::connect(&target).await?;
    let after = client.ping().await?;
    println!("{} answers after {after:?}", client.path());

    let mut last = None;
    for text in arguments {
        // Once it returns, the message is in the peer's inbox.
        match client.send(&text).await {
            Ok(id) => println!(
                "taken as {}",
                id.unwrap_or("nothing in particular".to_owned())
            ),
            Err(SendFailure::InboxFull) => println!("not taken: it has too much to read"),
            // Sent, and never answered: sending it again might deliver it twice.
            Err(SendFailure::Unanswered { written: true, .. }) => println!("nobody knows: {text}"),
            Err(refused) => return Err(refused.into()),
        }
        last = Some(text);
    }

    // Pipelined: queue as much as fits, then take the outcomes in their order.
    if let Some(text) = last {
        for part in text.split_whitespace() {
            client.queue("notification", Data::Text(part))?;
        }
        while let Some((_, outcome)) = client.next_outcome().await {
            if let Answer::Accepted(Some(id)) = outcome? {
                println!("a word taken as {id}");
            }
        }
    }
    Ok(())
}
