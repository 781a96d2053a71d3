//! The relay's codecs and ciphers: the checks of the fuzz targets, and ciphers of another
//! implementation.

use crypto_box::aead::{Aead as _, KeyInit as _};
use crypto_box::{SalsaBox, SecretKey};
use hallway_core::relay::cipher::{Cipher, Nonce, open_bundle, seal_bundle};
use hallway_core::relay::keys::{AccountSecret, BoxKeyPair, DataKey};
use hallway_tests::fuzzing;
use proptest::collection::vec;
use proptest::prelude::{Strategy, any, prop_oneof, proptest};
use proptest::sample::select;

use super::{cases, steering};

/// Texts of a packet, a frame or a plaintext: what their grammars are made of, in any order.
fn pieces() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        8 => select(PIECES).prop_map(|piece| piece.as_bytes().to_vec()),
        1 => vec(any::<u8>(), 1..3),
    ];
    vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

const PIECES: &[&str] = &[
    "0",
    "1",
    "2",
    "3",
    "4",
    "5",
    "b",
    "-",
    ".5",
    "e3",
    "/",
    "/admin",
    ",",
    "[",
    "]",
    "{",
    "}",
    ":",
    " ",
    "\"a\"",
    "\"connect\"",
    "\"\\ud800\"",
    "\"\\ud83d\\ude00\"",
    "null",
    "true",
    "{}",
    "[]",
    "\"sid\":\"s\"",
    "\"pingInterval\":15000",
    "\"pingTimeout\":1e3",
    "\"maxPayload\":1000000",
    "\"role\":\"user\"",
    "\"role\":\"agent\"",
    "\"content\":",
    "\"type\":\"text\"",
    "\"type\":\"acp\"",
    "\"text\":\"t\"",
    "\"meta\":{}",
    "\"data\":",
    "\"id\":\"i\"",
    "\"message\":",
    "\"t\":\"new-message\"",
    "\"t\":\"update-session\"",
    "\"type\":\"activity\"",
    "\"body\":{",
    "\"sid\":\"S\"",
    "\"seq\":1",
    "\"content\":{\"t\":\"encrypted\",\"c\":\"x\"}",
    "\"metadata\":{\"value\":null,\"version\":2}",
    "\"active\":true",
    "\"method\":\"S:a\"",
    "\"params\":",
    "\0{",
    "\"command\":\"c\"",
    "\"path\":\"a\"",
    "\"cwd\":\"d\"",
    "\"content\":\"AA==\"",
    "\"timeout\":",
    "\"maxDepth\":",
    "\"args\":[",
    "\"-e\"",
    "\"--pre=x\"",
    "\"token\":\"t\"",
    "\"secret\":\"AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=\"",
    "\"machineId\":\"m\"",
    "..",
];

proptest! {
    #![proptest_config(cases(4))]

    #[test]
    fn engineio(bytes in pieces()) {
        fuzzing::check_engineio(&bytes);
    }

    #[test]
    fn socketio(bytes in pieces()) {
        fuzzing::check_socketio(&bytes);
    }

    #[test]
    fn plaintext(bytes in pieces()) {
        fuzzing::check_plaintext(&bytes);
    }

    #[test]
    fn update(bytes in pieces()) {
        fuzzing::check_update(&bytes);
    }

    #[test]
    fn rpc(bytes in pieces()) {
        fuzzing::check_rpc(&bytes);
    }

    #[test]
    fn credentials(bytes in pieces()) {
        fuzzing::check_credentials(&bytes);
    }
}

proptest! {
    #![proptest_config(cases(1))]

    #[test]
    fn cipher(bytes in steering(200)) {
        fuzzing::check_cipher(&bytes.0);
    }

    #[test]
    fn link(bytes in steering(400)) {
        if let Some(operations) = fuzzing::LinkOperations::read(&bytes.0) {
            operations.check();
        }
    }

    #[test]
    fn session(bytes in steering(400)) {
        if let Some(operations) = fuzzing::SessionOperations::read(&bytes.0) {
            operations.check();
        }
    }

    #[test]
    fn cursor(bytes in steering(400)) {
        fuzzing::check_cursor(&bytes.0);
    }

    #[test]
    fn durable(bytes in steering(400)) {
        fuzzing::check_durable(&bytes.0);
    }

    #[test]
    fn versioned(bytes in steering(400)) {
        fuzzing::check_versioned(&bytes.0);
    }

    /// Secretbox and box are those of another implementation, both ways.
    #[test]
    fn boxes(ours in any::<[u8; 32]>(), theirs in any::<[u8; 32]>(), entropy in any::<[u8; 24]>(), plain in vec(any::<u8>(), 0..300)) {
        let recipient = BoxKeyPair::from_secret(&theirs);
        let ephemeral = BoxKeyPair::from_secret(&ours);
        let public = *ephemeral.public().as_bytes();
        let bundle = seal_bundle(recipient.public(), ephemeral, Nonce::from_entropy(entropy), &plain)
            .expect("a sound key");
        let oracle = SalsaBox::new(&public.into(), &SecretKey::from(theirs));
        let expected = oracle.encrypt(&entropy.into(), &*plain).expect("short");
        assert_eq!(bundle, [&public[..], &entropy, &expected].concat());
        assert_eq!(*open_bundle(&recipient, &bundle).expect("ours"), plain);

        let cipher = Cipher::Legacy(AccountSecret::from_bytes(&ours));
        let sealed = cipher.seal(Nonce::from_entropy(entropy), &plain).expect("short");
        let oracle = crypto_secretbox::XSalsa20Poly1305::new(&ours.into());
        let expected = oracle.encrypt(&entropy.into(), &*plain).expect("short");
        assert_eq!(sealed, [&entropy[..], &expected].concat());

        let cipher = Cipher::DataKey(DataKey::from_bytes(&ours));
        let sealed = cipher.seal(Nonce::from_entropy(entropy), &plain).expect("short");
        assert_eq!(sealed[..13], [&[0], &entropy[..12]].concat());
        assert_eq!(cipher.open(&sealed), Ok(plain));
    }
}
