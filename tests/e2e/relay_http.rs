//! The relay's routes, by the library, at both fronts of the tests' server; and over TLS.

use std::fs;
use std::path::Path;

use hallway::core::relay::base64;
use hallway::core::relay::keys::{AccountSecret, BoxKeyPair};
use hallway::relay::http::{
    Class, Http, Machine, NewSession, Pairing, PairingStatus, Patience, account_name,
};
use hallway::session::{AccessToken, TransportOptions};
use hallway_tests::relay_server::{Front, RelayServer};
use hallway_tests::session::certificates::{Authority, Kind};
use serde_json::{Value, json};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};

use crate::relay::{Running, cipher, command, opened, paired_with, sealed, session, user};

fn http(server: &RelayServer) -> Http {
    let options = TransportOptions::default();
    Http::new(server.url(), &options, Patience::DEFAULT).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn accounts_are_proved_and_terminals_paired() {
    for front in Front::ALL {
        let server = RelayServer::start_with(front);
        let http = http(&server);
        let secret = AccountSecret::from_bytes(&[5; 32]);
        let token = http.authenticate(&secret).await.unwrap();
        server.with(|state| {
            let account = base64::decode(state.tokens.values().next().unwrap());
            let name: String = account.iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(name, account_name(&secret));
        });
        let terminal = BoxKeyPair::from_secret(&[6; 32]).public();
        let status = || http.pairing_status(terminal);
        assert_eq!(status().await.unwrap(), PairingStatus::NotFound);
        let asked = || http.request_pairing(terminal);
        assert!(matches!(asked().await.unwrap(), Pairing::Requested));
        let pending = PairingStatus::Pending {
            takes_data_key: true,
        };
        assert_eq!(status().await.unwrap(), pending);
        let stranger = AccessToken::parse("stranger").unwrap();
        let refused = http.approve_pairing(&stranger, terminal, "AAAA").await;
        assert_eq!(refused.unwrap_err().class(), Class::Unauthorized);
        http.approve_pairing(&token, terminal, "AAAA")
            .await
            .unwrap();
        assert_eq!(status().await.unwrap(), PairingStatus::Authorized);
        let Pairing::Authorized { token, response } = asked().await.unwrap() else {
            panic!("it is approved");
        };
        assert_eq!(response, "AAAA");
        // The approver's, by which the terminal speaks from then on.
        assert_eq!(http.sessions(&token).await.unwrap(), []);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_messages_and_machines_are_kept() {
    for front in Front::ALL {
        let server = RelayServer::start_with(front);
        let http = http(&server);
        let secret = AccountSecret::from_bytes(&[5; 32]);
        let token = http.authenticate(&secret).await.unwrap();
        let new = NewSession {
            tag: "t",
            metadata: "AAAA",
            data_key: None,
        };
        let made = http.create_session(&token, &new).await.unwrap();
        let again = NewSession {
            metadata: "BBBB",
            ..new
        };
        let again = http.create_session(&token, &again).await.unwrap();
        assert_eq!((&made.id, &made.metadata), (&again.id, &again.metadata));
        assert_eq!(http.sessions(&token).await.unwrap().len(), 1);
        let message = |id: usize| json!({"content": "CCCC", "localId": id.to_string()});
        let all: Vec<_> = (0..3).map(message).collect();
        for body in [json!({"messages": &all[..2]}), json!({"messages": all})] {
            let answer = http
                .post_messages(&token, &made.id, &body.to_string())
                .await;
            let answer: Value = serde_json::from_str(&answer.unwrap()).unwrap();
            let rows = answer["messages"].as_array().unwrap();
            // What was stored before keeps its number.
            assert_eq!((&rows[0]["seq"], &rows[1]["seq"]), (&json!(1), &json!(2)));
        }
        let page = http.messages_after(&token, &made.id, 1, 1).await.unwrap();
        let page: Value = serde_json::from_str(&page).unwrap();
        let rows = page["messages"].as_array().unwrap();
        assert_eq!((rows.len(), &rows[0]["seq"]), (1, &json!(2)));
        assert_eq!(page["hasMore"], true);
        let newest = http.newest_messages(&token, &made.id).await.unwrap();
        let newest: Value = serde_json::from_str(&newest).unwrap();
        assert_eq!(newest["messages"][0]["seq"], 3, "the newest first");
        http.archive_session(&token, &made.id).await.unwrap();
        assert!(!http.sessions(&token).await.unwrap()[0].active);
        http.delete_session(&token, &made.id).await.unwrap();
        let gone = http.messages_after(&token, &made.id, 0, 1).await;
        assert_eq!(gone.unwrap_err().class(), Class::NotFound);
        server.with(|state| state.faults.no_v3 = true);
        let old = http.messages_after(&token, &made.id, 0, 1).await;
        assert_eq!(old.unwrap_err().class(), Class::NoRoute);
        let machine = Machine {
            id: "m",
            metadata: "AAAA",
            data_key: None,
        };
        for _ in 0..2 {
            let row = http.register_machine(&token, &machine).await.unwrap();
            assert_eq!(
                (&*row.id, &*row.metadata, row.metadata_version),
                ("m", "AAAA", 1)
            );
            assert_eq!((row.daemon_state, row.daemon_state_version), (None, 0));
        }
        let machines = http.machines(&token).await.unwrap();
        let machine = http.machine(&token, "m").await.unwrap();
        assert_eq!(machines, [machine]);
        let other = http.machine(&token, "n").await.unwrap_err();
        assert_eq!(other.class(), Class::NotFound);
    }
}

/// What ends TLS before the server; `https` and `wss` come to it.
pub(crate) async fn terminate(server: &RelayServer, authority: &Authority) -> u16 {
    let identity = authority.sign(Kind::Server, "localhost");
    let acceptor = tokio_rustls::TlsAcceptor::from(identity.server());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let target = server.url().trim_start_matches("http://").to_owned();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, target) = (acceptor.clone(), target.clone());
            tokio::spawn(async move {
                let mut stream = acceptor.accept(stream).await?;
                let mut inner = TcpStream::connect(target).await?;
                copy_bidirectional(&mut stream, &mut inner).await
            });
        }
    });
    port
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_goes_over_tls_to_whom_is_trusted() {
    let (home, server) = paired_with(RelayServer::start());
    let (authority, other) = (Authority::new("of the test"), Authority::new("of others"));
    let port = terminate(&server, &authority).await;
    let url = format!("https://localhost:{port}");
    let (trusted, untrusted) = (home.root().join("ca.pem"), home.root().join("other.pem"));
    fs::write(&trusted, authority.pem()).unwrap();
    fs::write(&untrusted, other.pem()).unwrap();
    tokio::task::spawn_blocking(move || {
        let mirror = |file: &Path| {
            let file = file.to_str().unwrap();
            let arguments = [
                "--json",
                "relay",
                "mirror",
                "--server",
                &url,
                "--ca-file",
                file,
            ];
            command(&home, &server, &arguments)
        };
        let output = mirror(&untrusted).output().unwrap();
        assert_eq!(output.status.code(), Some(7), "{output:?}");
        let errors = String::from_utf8(output.stderr).unwrap();
        assert!(
            errors.contains("not trusted") && errors.contains("--ca-file"),
            "{errors}"
        );
        server.with(|state| assert_eq!(state.heard, "", "nothing was sent"));
        let mut running = Running::start(mirror(&trusted));
        running.next("connected");
        server.say(&session(&server), &sealed(&cipher(), &user("over TLS")));
        assert_eq!(running.next("message")["text"], "over TLS");
        running.say(&json!({"kind": "message", "message": "and back"}));
        running.next("stored");
        server.with(|state| {
            let stored = &state.only().1.messages[1];
            assert_eq!(opened(&cipher(), &stored.content), "and back");
        });
        assert_eq!(running.stop().0, Some(0));
    })
    .await
    .unwrap();
}
