//! Requests against a server that plays by a script.

use std::time::Duration;

use hallway_core::relay::keys::{AccountSecret, BoxKeyPair};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::*;

/// A server that gives these answers, one a connection, and tells what it was asked.
struct Script {
    http: Http,
    asked: JoinHandle<Vec<String>>,
}

async fn script(answers: Vec<String>, patience: Patience) -> Script {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/base/", listener.local_addr().unwrap());
    let asked = tokio::spawn(async move {
        let mut asked = Vec::new();
        for answer in answers {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut bytes = Vec::new();
            while !is_whole(&bytes) {
                assert_ne!(stream.read_buf(&mut bytes).await.unwrap(), 0);
            }
            asked.push(String::from_utf8(bytes).unwrap());
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
        asked
    });
    let http = Http::new(&url, &TransportOptions::default(), patience).unwrap();
    Script { http, asked }
}

fn is_whole(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes);
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        return false;
    };
    let length = head.split("Content-Length: ").nth(1);
    let length = length.map(|rest| rest.lines().next().unwrap().parse::<usize>().unwrap());
    body.len() >= length.unwrap_or(0)
}

fn answer(status: u16, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 {status} x\r\nContent-Length: {length}\r\n\r\n{body}")
}

fn token() -> AccessToken {
    AccessToken::parse("tok").unwrap()
}

const QUICK: Patience = Patience {
    attempt: Duration::from_secs(10),
    attempts: 3,
};

/// Covers: R3.6, R3.15
#[tokio::test]
async fn a_request_is_what_the_server_expects() {
    let row = r#"{"session":{"id":"s1","seq":4,"metadata":"bQ==","metadataVersion":2,
        "agentState":null,"agentStateVersion":0,"dataEncryptionKey":"a2V5","active":true,
        "activeAt":5,"createdAt":1,"updatedAt":1,"lastMessage":null,"more":{}}}"#;
    let server = script(vec![answer(200, row)], QUICK).await;
    let session = NewSession {
        tag: "t\"1",
        metadata: "bQ==",
        data_key: None,
    };
    let mut row = server
        .http
        .create_session(&token(), &session)
        .await
        .unwrap();
    assert!(row.raw.contains(r#""more":{}"#));
    row.raw.clear();
    assert_eq!(
        row,
        SessionRow {
            id: "s1".to_owned(),
            seq: 4,
            metadata: "bQ==".to_owned(),
            metadata_version: 2,
            agent_state: None,
            agent_state_version: 0,
            data_key: Some("a2V5".to_owned()),
            active: true,
            active_at: 5,
            raw: String::new(),
        }
    );
    let asked = server.asked.await.unwrap().remove(0);
    assert!(
        asked.starts_with("POST /base/v1/sessions HTTP/1.1\r\nHost: 127.0.0.1:"),
        "{asked}"
    );
    for part in [
        "\r\nAuthorization: Bearer tok\r\n",
        "\r\nContent-Type: application/json\r\n",
        "\r\n\r\n{\"tag\":\"t\\\"1\",\"metadata\":\"bQ==\",\"agentState\":null,\"dataEncryptionKey\":null}",
    ] {
        assert!(asked.contains(part), "{asked}");
    }
}

/// Covers: R3.11
#[tokio::test]
async fn machines_are_registered_listed_and_looked_up() {
    let row = r#"{"id":"m1","metadata":"bQ==","metadataVersion":1,"daemonState":null,"daemonStateVersion":0,"active":true,"activeAt":5}"#;
    let list = format!("[{row},{{}}]");
    let made = format!(r#"{{"machine":{row}}}"#);
    let wrapped = format!(r#"{{"machines":[{row}]}}"#);
    let answers = [&*made, &list, &wrapped, "{}", &made, row].map(|body| answer(200, body));
    let Script { http, asked } = script(answers.into(), QUICK).await;
    let machine = Machine {
        id: "m\"1",
        metadata: "bQ==",
        data_key: Some("a2V5"),
    };
    let expected = MachineRow {
        id: "m1".to_owned(),
        metadata: "bQ==".to_owned(),
        metadata_version: 1,
        daemon_state: None,
        daemon_state_version: 0,
        active: true,
        active_at: 5,
        raw: row.to_owned(),
    };
    let given = http.register_machine(&token(), &machine).await.unwrap();
    assert_eq!(given, expected);
    for _ in 0..2 {
        let machines = http.machines(&token()).await.unwrap();
        assert_eq!(machines, std::slice::from_ref(&expected));
    }
    let nonsense = http.machines(&token()).await.unwrap_err();
    assert_eq!(nonsense, HttpError::Nonsense("machines"));
    assert_eq!(http.machine(&token(), "m/1").await.unwrap(), expected);
    let nonsense = http.machine(&token(), "m1").await.unwrap_err();
    assert_eq!(nonsense, HttpError::Nonsense("machine"));
    let asked = asked.await.unwrap();
    assert!(asked[4].starts_with("GET /base/v1/machines/m%2F1 HTTP/1.1\r\n"));
    assert!(asked[0].starts_with("POST /base/v1/machines HTTP/1.1\r\n"));
    assert!(asked[0].ends_with(
        "\r\n\r\n{\"id\":\"m\\\"1\",\"metadata\":\"bQ==\",\"dataEncryptionKey\":\"a2V5\"}"
    ));
    assert!(asked[1].starts_with("GET /base/v1/machines HTTP/1.1\r\n"));
}

/// Covers: R3.7
#[tokio::test]
async fn ids_cannot_lead_elsewhere() {
    let server = script(vec![answer(200, "{}")], QUICK).await;
    let id = "../x?y#z\r\nA: b";
    server.http.archive_session(&token(), id).await.unwrap();
    let asked = server.asked.await.unwrap().remove(0);
    let line = asked.lines().next().unwrap();
    let expected = "POST /base/v1/sessions/..%2Fx%3Fy%23z%0D%0AA%3A%20b/archive HTTP/1.1";
    assert_eq!(line, expected);
}

/// Covers: R3.7, R3.13
#[tokio::test]
async fn what_can_be_repeated_is_and_nothing_else() {
    let trouble = || answer(502, "<html>");
    let list = answer(200, r#"{"sessions":[{"id":7}, 5]}"#);
    let server = script(vec![trouble(), String::new(), list.clone()], QUICK).await;
    let sessions = server.http.sessions(&token()).await.unwrap();
    assert_eq!(sessions, [], "what cannot be read is passed over");
    assert_eq!(server.asked.await.unwrap().len(), 3);

    let server = script(vec![trouble(), trouble(), trouble()], QUICK).await;
    let error = server.http.sessions(&token()).await.unwrap_err();
    assert!(
        matches!(error, HttpError::Refused { status: 502, .. }),
        "{error}"
    );
    assert_eq!(server.asked.await.unwrap().len(), 3);

    let refusal = answer(401, r#"{"error":"Invalid token"}"#);
    let server = script(vec![refusal], QUICK).await;
    let error = server.http.sessions(&token()).await.unwrap_err();
    assert_eq!(error.class(), Class::Unauthorized);
    assert!(error.to_string().contains("Invalid token"), "{error}");

    // The core repeats posts of messages, by its own clock.
    let server = script(vec![trouble()], QUICK).await;
    let posted = server.http.post_messages(&token(), "s", "{}").await;
    assert_eq!(posted.unwrap_err().class(), Class::Transient);

    let wait = "HTTP/1.1 429 x\r\nRetry-After: 3600\r\nContent-Length: 0\r\n\r\n".to_owned();
    let server = script(vec![wait], QUICK).await;
    let error = server.http.sessions(&token()).await.unwrap_err();
    let hour = Duration::from_secs(3_600);
    assert_eq!(
        error.class(),
        Class::RetryAfter(hour),
        "nobody waits so long"
    );
}

/// Covers: R3.14
#[tokio::test]
async fn every_attempt_has_a_deadline() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let patience = Patience {
        attempt: Duration::from_millis(50),
        attempts: 2,
    };
    let http = Http::new(&url, &TransportOptions::default(), patience).unwrap();
    let error = http.sessions(&token()).await.unwrap_err();
    assert_eq!(
        error,
        HttpError::TimedOut {
            after: patience.attempt,
            sent: true
        }
    );
    drop(listener);
    let error = http.sessions(&token()).await.unwrap_err();
    assert!(matches!(error, HttpError::Unreachable { .. }), "{error}");
}

/// Covers: R3.2
#[tokio::test]
async fn a_pairing_is_asked_for_until_it_is_approved() {
    let pair = BoxKeyPair::from_secret(&[1; 32]);
    let answers = vec![
        answer(200, r#"{"state":"requested"}"#),
        answer(
            200,
            r#"{"state":"authorized","token":"t.o.k","response":"AAAA"}"#,
        ),
        answer(200, r#"{"state":"other"}"#),
        answer(200, r#"{"status":"pending","supportsV2":true}"#),
        answer(200, r#"{"status":"not_found"}"#),
        answer(200, r#"{"success":true}"#),
    ];
    let Script { http, asked } = script(answers, QUICK).await;
    let ask = || http.request_pairing(pair.public());
    assert!(matches!(ask().await.unwrap(), Pairing::Requested));
    let Pairing::Authorized {
        token: given,
        response,
    } = ask().await.unwrap()
    else {
        panic!("it is approved");
    };
    assert_eq!((given.expose(), &*response), ("t.o.k", "AAAA"));
    assert!(matches!(ask().await, Err(HttpError::Nonsense(_))));
    let takes_data_key = true;
    assert_eq!(
        http.pairing_status(pair.public()).await.unwrap(),
        PairingStatus::Pending { takes_data_key }
    );
    assert_eq!(
        http.pairing_status(pair.public()).await.unwrap(),
        PairingStatus::NotFound
    );
    http.approve_pairing(&token(), pair.public(), "AAAA")
        .await
        .unwrap();
    let asked = asked.await.unwrap();
    assert!(asked[0].contains(r#""supportsV2":true"#) && !asked[0].contains("Authorization"));
    assert!(asked[3].contains("?publicKey=") && !asked[3].contains("+"));
    assert!(asked[5].contains("Bearer tok"));
}

/// Covers: R3.1
#[tokio::test]
async fn the_account_is_shown_by_its_signature() {
    let server = script(vec![answer(200, r#"{"success":true,"token":"t"}"#)], QUICK).await;
    let secret = AccountSecret::from_bytes(&[3; 32]);
    let given = server.http.authenticate(&secret).await.unwrap();
    assert_eq!(given.expose(), "t");
    let asked = server.asked.await.unwrap().remove(0);
    for name in ["publicKey", "challenge", "signature"] {
        assert!(asked.contains(&format!("\"{name}\":\"")), "{asked}");
    }
    let server = script(vec![answer(200, r#"{"success":true}"#)], QUICK).await;
    let error = server.http.authenticate(&secret).await.unwrap_err();
    assert_eq!(error, HttpError::Nonsense("token"));
}

/// Covers: R3.15
#[test]
fn the_secret_does_not_travel_in_the_clear() {
    let far = Http::new("http://example.com", &TransportOptions::default(), QUICK);
    assert!(matches!(far, Err(ServerError::Setup(SetupError::Insecure))));
    let none = Http::new("example.com", &TransportOptions::default(), QUICK);
    assert!(matches!(none, Err(ServerError::Url(UrlError::Scheme))));
}
