//! Keys, ciphers, bundles, pairing, authentication.

use crypto_box::SalsaBox;
use crypto_box::aead::Aead as _;
use hallway_core::relay::base64;
use hallway_core::relay::cipher::{
    Cipher, Nonce, OpenError, open_bundle, seal_bundle, unwrap_data_key, wrap_data_key,
};
use hallway_core::relay::keys::{AccountSecret, BoxKeyPair, DataKey, KeyNode, PublicKey};
use hallway_core::relay::pairing::{self, Answer};

use crate::js::Js;
use crate::{K1, generation, shared};

/// The cipher of a variant under a key.
pub(crate) fn cipher(variant: &str, key: &[u8; 32]) -> Cipher {
    match variant {
        "legacy" => Cipher::Legacy(AccountSecret::from_bytes(key)),
        "dataKey" => Cipher::DataKey(DataKey::from_bytes(key)),
        other => panic!("no variant is called {other}"),
    }
}

/// A nonce whose first bytes are given.
pub(crate) fn nonce(bytes: &[u8]) -> Nonce {
    let mut entropy = [0; Nonce::ENTROPY_BYTES];
    entropy[..bytes.len()].copy_from_slice(bytes);
    Nonce::from_entropy(entropy)
}

/// Covers: R4.7
#[test]
fn relay_vectors_key_tree() {
    shared("deriveKey", |section| {
        if let Some(root) = section.get("root") {
            let node = KeyNode::root(&K1, &root.at("usage").str());
            assert_eq!(node.expose_key(), &root.at("keyHex").bytes());
            assert_eq!(node.expose_chain_code(), &root.at("chainCodeHex").bytes());
            if let Some(child) = section.get("child") {
                let node = node.child(&child.at("index").str());
                assert_eq!(node.expose_key(), &child.at("keyHex").bytes());
                assert_eq!(node.expose_chain_code(), &child.at("chainCodeHex").bytes());
            }
        }
        for row in section.get("cases").map(Js::rows).unwrap_or_default() {
            let path: Vec<String> = row.at("path").list().iter().map(Js::str).collect();
            let path: Vec<&str> = path.iter().map(String::as_str).collect();
            let usage = row.at("usage").str();
            let node = KeyNode::derive(&K1, &usage, &path);
            assert_eq!(node.expose_key(), &row.at("keyHex").bytes(), "{}", row.raw);
            match (usage.as_str(), path.as_slice()) {
                ("Happy Blobs", ["master"]) => assert_eq!(
                    AccountSecret::from_bytes(&K1).blob_key().expose(),
                    node.expose_key()
                ),
                ("Happy Blobs", ["session"]) => assert_eq!(
                    DataKey::from_bytes(&K1).blob_key().expose(),
                    node.expose_key()
                ),
                _ => {}
            }
        }
    });
}

/// Covers: R4.7
#[test]
fn relay_vectors_content_key_pair() {
    shared("contentKeyPair", |section| {
        let secret = AccountSecret::from_bytes(&section.at("secretHex").bytes());
        let pair = secret.content_key_pair();
        assert_eq!(
            pair.public().as_bytes(),
            &section.at("boxPublicHex").bytes()
        );
        assert_eq!(pair.expose_secret(), &section.at("boxSecretHex").bytes());
        // libsodium's "public key of a secret key" is that of the pair that the key seeds.
        if let Some(public) = section.get("libsodiumPublicKeyFromSecretKey_of_K1") {
            let pair = BoxKeyPair::from_seed(&K1);
            assert_eq!(pair.public().as_bytes(), &public.bytes());
        }
    });
}

/// Covers: R4.3, R4.4, R4.5
#[test]
fn relay_vectors_encrypt() {
    generation("encrypt", |section, source| {
        let key = source.at("keyHex").bytes();
        for (variant, rows) in section.members() {
            let cipher = cipher(variant, &key);
            for row in rows.rows() {
                let plain = row.at("plaintextUtf8Hex").hex();
                let sealed = row.at("ciphertextBase64").str();
                let bytes = base64::decode(&sealed);
                let again = cipher.seal(nonce(&row.at("nonceHex").hex()), &plain);
                assert_eq!(again.as_ref(), Ok(&bytes), "{}", row.raw);
                assert_eq!(base64::encode(&bytes), sealed);
                assert_eq!(bytes.len() as f64, row.at("length").number());
                assert_eq!(bytes.len(), plain.len() + cipher.overhead());
                assert_eq!(cipher.open(&bytes).as_ref(), Ok(&plain));
                if let Ok(text) = std::str::from_utf8(&plain) {
                    let again = cipher.seal_text(nonce(&row.at("nonceHex").hex()), text);
                    assert_eq!(again, Ok(sealed.clone()));
                }
                let decrypt = row.at("decrypt");
                match cipher.open_text(&sealed) {
                    Ok(opened) => {
                        let value = Js::read(opened.raw().as_str());
                        assert_eq!(&value, decrypt.at("value"), "{}", row.raw);
                    }
                    // What is no JSON value: `undefined`, if anything.
                    Err(error) => assert!(
                        plain.is_empty() && error == OpenError::Empty && no_value(decrypt),
                        "{}: {error}",
                        row.raw
                    ),
                }
            }
        }
    });
}

/// Whether the reference has nothing to show: it throws, or gives `null`.
pub(crate) fn no_value(result: &Js) -> bool {
    result.get("throws").is_some() || result.get("value").is_none_or(Js::is_null)
}

/// Covers: R4.4, R4.5
#[test]
fn relay_vectors_decrypt_failures() {
    generation("decryptFailures", |section, _| {
        for row in section.rows() {
            let variant = row.at("variant").str();
            let cipher = cipher(&variant, &row.at("keyHex").bytes());
            let result = row.at("result");
            let throws = result.get("throws").map(Js::str);
            match cipher.open_text(&row.at("dataBase64").str()) {
                Ok(opened) => {
                    assert_eq!(throws, None, "{}", row.raw);
                    let value = Js::read(opened.raw().as_str());
                    assert_eq!(&value, result.at("value"), "{}", row.raw);
                }
                Err(error) => {
                    assert!(no_value(result), "{}: {error}", row.raw);
                    // What the reference throws has an error of its own; the rest it hides.
                    match (error, variant.as_str()) {
                        (OpenError::NoNonce, "legacy") => {
                            assert_eq!(throws.as_deref(), Some("bad nonce size"));
                        }
                        (OpenError::NotJson | OpenError::Empty, "legacy") => {
                            assert_eq!(result.at("name").str(), "SyntaxError");
                        }
                        _ => assert_eq!(throws, None, "{}: {error}", row.raw),
                    }
                }
            }
        }
    });
}

/// Covers: R4.6
#[test]
fn relay_vectors_data_key_wrap() {
    generation("dataKeyWrap", |section, source| {
        let key: [u8; 32] = section.at("dataKeyHex").bytes();
        let pair = BoxKeyPair::from_secret(&section.at("recipientSecretHex").bytes());
        let public: [u8; 32] = section.at("recipientPublicHex").bytes();
        assert_eq!(pair.public().as_bytes(), &public);

        let bundle = base64::decode(&section.at("bundleBase64").str());
        assert_eq!(bundle.len() as f64, section.at("length").number());
        assert_eq!(*open_bundle(&pair, &bundle).expect("ours"), key);
        reseal(&bundle, &key, &pair, section);

        let field = section.at("dataEncryptionKeyFieldBase64").str();
        let opened = unwrap_data_key(&field, &pair).expect("ours");
        assert_eq!(opened.expose(), &key);
        let bytes = base64::decode(&field);
        assert_eq!(bytes.len(), 105);
        reseal(&bytes[1..], &key, &pair, &Js::read("{}"));
        let ours = wrap_data_key(&opened, pair.public(), ephemeral(), nonce(&[7; 24]));
        let ours = unwrap_data_key(&ours.expect("a sound key"), &pair).expect("ours");
        assert_eq!(ours.expose(), &key);

        for row in section
            .get("unwrapFailures")
            .map(Js::rows)
            .unwrap_or_default()
        {
            let other = BoxKeyPair::from_secret(&source.at("otherKeyHex").bytes());
            let [what, result] = row.list() else {
                panic!("{}", row.raw)
            };
            let (opened, expected) = match what.str().as_str() {
                "wrong recipient" => (open_bundle(&other, &bundle), OpenError::Forged),
                "truncated" => {
                    let cut = &bundle[..bundle.len() - 1];
                    (open_bundle(&pair, cut), OpenError::Forged)
                }
                "too short (<56)" => (open_bundle(&pair, &bundle[..55]), OpenError::TooShort),
                other => panic!("no test knows how to fail by {other}"),
            };
            assert!(result.is_null() || no_value(result));
            assert_eq!(opened, Err(expected));
        }
    });
}

fn ephemeral() -> BoxKeyPair {
    BoxKeyPair::from_secret(&[0x42; 32])
}

/// Seals the plaintext of a bundle again, byte for byte. Its ephemeral secret is not known, but
/// the recipient's makes the same box with the ephemeral public key; another implementation
/// does that. Ours makes a bundle that the other opens.
fn reseal(bundle: &[u8], plain: &[u8], recipient: &BoxKeyPair, section: &Js) {
    let (public, rest) = bundle.split_at(32);
    let (nonce_bytes, sealed) = rest.split_at(24);
    if let Some(expected) = section.get("ephPublicHex") {
        assert_eq!(public, expected.hex());
        assert_eq!(nonce_bytes, section.at("nonceHex").hex());
    }
    let theirs = crypto_box::PublicKey::from_slice(public).expect("32 bytes");
    let secret = crypto_box::SecretKey::from(*recipient.expose_secret());
    let oracle = SalsaBox::new(&theirs, &secret);
    assert_eq!(
        oracle.encrypt(nonce_bytes.into(), plain).expect("small"),
        sealed
    );

    let entropy = nonce(nonce_bytes);
    let ours = seal_bundle(recipient.public(), ephemeral(), entropy, plain).expect("sound");
    assert_eq!(ours.len(), bundle.len());
    let public = crypto_box::PublicKey::from(*ephemeral().public().as_bytes());
    let oracle = SalsaBox::new(&public, &secret);
    assert_eq!(
        oracle.encrypt(nonce_bytes.into(), plain).expect("small"),
        ours[56..]
    );
    assert_eq!(ours[..32], *ephemeral().public().as_bytes());
    assert_eq!(*open_bundle(recipient, &ours).expect("ours"), plain);
}

/// Covers: R3.3, R3.5
#[test]
fn relay_vectors_pairing() {
    generation("pairing", |section, source| {
        let pair = BoxKeyPair::from_secret(&section.at("terminalSecretHex").bytes());
        let text = section.at("terminalPublicBase64").str();
        let url = section.at("terminalPublicBase64Url").str();
        assert_eq!(pairing::public_key(pair.public()), text);
        for text in [&text, &url] {
            assert_eq!(PublicKey::from_base64(text), Some(pair.public()));
        }
        let form = |name: &str, value: String| {
            if let Some(form) = section.get(name) {
                let expected = form.str().replace("<base64url>", &url);
                assert_eq!(value, expected.replace("<webapp>", "https://app.example"));
            }
        };
        form("mobileUrlForm", pairing::terminal_url(pair.public()));
        form(
            "webUrlForm",
            pairing::web_url("https://app.example/", pair.public()),
        );

        let account = AccountSecret::from_bytes(&source.at("keyHex").bytes());
        if let Some(response) = section.get("legacyResponse") {
            let bundle = response.at("bundleBase64").str();
            let Ok(Answer::Legacy(secret)) = Answer::open(&bundle, &pair) else {
                panic!("{}", response.raw)
            };
            assert_eq!(secret.expose(), account.expose());
            check_response(response, &Answer::Legacy(secret), account.expose(), &pair);
        }
        if let Some(response) = section.get("v2Response") {
            let bundle = response.at("bundleBase64").str();
            let Ok(Answer::DataKey(public)) = Answer::open(&bundle, &pair) else {
                panic!("{}", response.raw)
            };
            let plain = section.at("v2PlainHex").hex();
            assert_eq!(public, account.content_key_pair().public());
            assert_eq!(public.as_bytes()[..], plain[1..]);
            check_response(response, &Answer::DataKey(public), &plain, &pair);
        }
    });
}

/// The response is what the plaintext boxes to, and so is ours.
fn check_response(response: &Js, answer: &Answer, plain: &[u8], pair: &BoxKeyPair) {
    let bundle = base64::decode(&response.at("bundleBase64").str());
    assert_eq!(bundle.len() as f64, response.at("length").number());
    reseal(&bundle, plain, pair, response);
    let entropy = nonce(&response.at("nonceHex").hex());
    let ours = answer
        .seal(pair.public(), ephemeral(), entropy)
        .expect("sound");
    reseal(&base64::decode(&ours), plain, pair, &Js::read("{}"));
}

/// Covers: R3.1
#[test]
fn relay_vectors_auth() {
    generation("auth", |section, _| {
        let secret = AccountSecret::from_bytes(&section.at("seedHex").bytes());
        let public = secret.signing_public_key();
        assert_eq!(base64::encode(&public), section.at("publicKeyBase64").str());
        assert_eq!(public, section.at("publicKeyHexServerSide").bytes());
        let signature = secret.sign(&section.at("challengeHex").bytes());
        assert_eq!(
            base64::encode(&signature),
            section.at("signatureBase64").str()
        );
        if let Some(live) = section.get("liveSample") {
            let challenge = base64::decode(&live.at("challenge").str());
            let body = secret.authentication(&challenge.try_into().expect("32 bytes"));
            let body = Js::read(&body);
            for (name, length) in ["challenge", "publicKey", "signature"]
                .iter()
                .zip(live.at("lengths").rows())
            {
                assert_eq!(body.at(name), live.at(name));
                let bytes = base64::decode(&body.at(name).str());
                assert_eq!(bytes.len() as f64, length.number());
            }
        }
    });
}

#[test]
fn relay_vectors_keys_are_keys() {
    for name in ["keyHex", "otherKeyHex"] {
        generation(name, |key, _| assert_eq!(key.hex().len(), 32));
    }
    generation("source", |source, _| {
        assert!(crate::GENERATIONS.contains(&source.str().as_str()))
    });
}
