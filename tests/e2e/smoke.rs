//! The shortest way through everything.

use serde_json::json;

use crate::home;

#[test]
fn the_demo_does_what_it_says() {
    let finished = home().run(&["demo", "--json"]).expect(0);
    assert_eq!(
        finished.json().last(),
        Some(&json!({"event": "demo", "ok": true}))
    );
    assert_eq!(finished.stderr, "");
}

#[test]
fn a_message_is_sent_printed_and_the_daemon_stops_cleanly() {
    let home = home();
    let mut served = home.serve(&["--name", "api-worker"]);
    let sent = home.run(&["send", "api-worker", "schema landed"]).expect(0);
    assert_eq!(sent.stdout, "uds-1\n");
    assert_eq!(served.next_data(), json!("schema landed"));
    let (path, capability) = (served.path.clone(), home.capability(&served.path));
    assert!(capability.exists());
    let (code, lines, errors) = served.stop();
    assert_eq!(
        (code, lines, errors.as_str()),
        (0, vec![r#"{"event":"stopped"}"#.to_owned()], "")
    );
    assert!(!capability.exists() && !std::path::Path::new(&path).exists());
}
