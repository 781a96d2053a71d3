//! Messages that waited for the end of an outage.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use hallway::core::backoff::Policy;
use hallway::core::relay::keys::AccountSecret;
use hallway::net::{AccessToken, TransportOptions};
use hallway::relay::credentials::{Credentials, HappyHome, Keys};
use hallway::relay::http::{Http, Patience};
use hallway::relay::session;
use hallway::relay::transport::{Relay, Update, Upkeep};
use hallway_tests::relay_server::RelayServer;
use tokio::runtime::Runtime;

/// How long the server is away.
const OUTAGE: Duration = Duration::from_millis(500);

/// The medians, in milliseconds, of the time from the server's return to the last message
/// stored, and from the first one stored to the last. The order is verified each time.
pub(crate) fn measure(runtime: &Runtime, outages: usize, queued: usize) -> Result<[f64; 2]> {
    let mut found = Vec::new();
    for _ in 0..outages {
        found.push(runtime.block_on(outage(queued))?);
    }
    let of = |at: usize| super::median(found.iter().filter_map(|times| times.get(at)).copied());
    Ok([of(0), of(1)])
}

async fn outage(queued: usize) -> Result<[f64; 2]> {
    let server = RelayServer::start();
    server.with(|state| state.tokens.insert("tok".to_owned(), String::new()));
    let (mut relay, id, _home) = join(&server).await?;
    until(&mut relay, |update| {
        matches!(update, Update::Connected { .. })
    })
    .await?;

    server.with(|state| state.faults.http_down = true);
    server.cut();
    let mut sent = Vec::new();
    for n in 0..queued {
        sent.push(relay.send(&format!(r#"{{"n":{n},"text":"{}"}}"#, "x".repeat(160)))?);
    }
    // The socket comes back at once, and what is posted meanwhile fails.
    let meanwhile = tokio::time::timeout(OUTAGE, async {
        while let Some(update) = relay.next().await {
            let stored = matches!(update, Update::Stored { .. });
            ensure!(!stored, "stored while the server was away");
        }
        Ok(())
    });
    if let Ok(ended) = meanwhile.await {
        ended?;
    }
    server.with(|state| state.faults.http_down = false);

    let back = Instant::now();
    let mut first = None;
    let mut stored = Vec::new();
    while stored.len() < queued {
        let update = relay.next().await.context("an update")?;
        if let Update::Stored { local_id, .. } = update {
            first.get_or_insert_with(Instant::now);
            stored.push(local_id);
        }
    }
    let (all, first) = (back.elapsed(), first.context("one")?.elapsed());
    ensure!(stored == sent, "told out of order");
    let kept: Vec<_> = server.with(|state| {
        let session = state.sessions.get(&id);
        let messages = session.into_iter().flat_map(|session| &session.messages);
        messages
            .filter_map(|message| message.local_id.clone())
            .collect()
    });
    ensure!(kept == sent, "stored out of order");
    Ok([all, first].map(|span| span.as_secs_f64() * 1_000.0))
}

async fn join(server: &RelayServer) -> Result<(Relay, String, tempfile::TempDir)> {
    let home = tempfile::tempdir()?;
    let credentials = Credentials {
        token: AccessToken::parse("tok")?,
        keys: Keys::Legacy(AccountSecret::from_bytes(&[7; 32])),
    };
    let http = Http::new(
        server.url(),
        &TransportOptions::default(),
        Patience::DEFAULT,
    )?;
    let happy = HappyHome::at(home.path().join(".happy"));
    let (row, joined) = session::open(&http, &happy, &credentials, "t", "{}").await?;
    let upkeep = Upkeep {
        policy: Policy::PERSISTENT,
        ..Upkeep::default()
    };
    let relay = Relay::start(http, credentials.token, joined, &upkeep)?;
    Ok((relay, row.id, home))
}

async fn until(relay: &mut Relay, wanted: impl Fn(&Update) -> bool) -> Result<()> {
    loop {
        let update = relay.next().await.context("an update")?;
        if wanted(&update) {
            return Ok(());
        }
    }
}
