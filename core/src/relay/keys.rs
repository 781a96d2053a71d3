//! The keys of an account and of its sessions, and how one follows from another (relay.md §4.4).
//!
//! Every secret is wiped on drop and prints a placeholder. Entropy comes from the caller, who
//! wipes its own copy.

use alloc::boxed::Box;
use alloc::string::String;
use core::fmt;

use aes_gcm::Aes256Gcm;
use ed25519_dalek::{Signer, SigningKey};
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha512};
use x25519_dalek::StaticSecret;
use zeroize::Zeroizing;

use super::base64;
use super::raw::Object;

/// Defines how a secret of 32 bytes is read and shown; its first field holds them.
macro_rules! reading {
    ($name:ident) => {
        impl $name {
            /// The secret that `bytes` are; `None` unless there are 32 of them.
            #[must_use]
            pub fn from_slice(bytes: &[u8]) -> Option<Self> {
                bytes.try_into().ok().map(Self::from_bytes)
            }

            /// The secret that `text` spells in base64; `None` unless that is 32 bytes.
            #[must_use]
            pub fn from_base64(text: &str) -> Option<Self> {
                Self::from_slice(&base64::decode_secret(text))
            }

            /// The secret itself, for files of mode 0600 and for ciphers.
            #[must_use]
            pub fn expose(&self) -> &[u8; 32] {
                &self.0
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($name), "(redacted)"))
            }
        }
    };
}

/// Defines a secret of 32 bytes.
macro_rules! secret {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        pub struct $name(Zeroizing<[u8; 32]>);

        impl $name {
            /// Takes the secret's bytes.
            #[must_use]
            pub fn from_bytes(bytes: &[u8; 32]) -> Self {
                Self(Zeroizing::new(*bytes))
            }
        }

        reading!($name);
    )*};
}

secret! {
    /// The secret of an account: all else follows from it. In the `legacy` variant it is also
    /// the key of all sessions and machines.
    AccountSecret;
    /// The key of the blobs of an account or of one session.
    BlobKey;
}

/// The key of one session, or of one machine, in the `dataKey` variant. It holds the cipher's
/// own schedule of the key beside it, which would take longer to make than a short message to
/// seal.
pub struct DataKey(Zeroizing<[u8; 32]>, Box<Aes256Gcm>);

impl DataKey {
    /// Takes the secret's bytes.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; 32]) -> Self {
        Self(
            Zeroizing::new(*bytes),
            Box::new(Aes256Gcm::new(bytes.into())),
        )
    }

    /// The cipher under this key.
    pub(super) fn cipher(&self) -> &Aes256Gcm {
        &self.1
    }
}

reading!(DataKey);

/// A node of a key tree: a key, and the chain code that its children follow from.
pub struct KeyNode {
    key: Zeroizing<[u8; 32]>,
    chain_code: Zeroizing<[u8; 32]>,
}

impl KeyNode {
    /// The root of the tree that `seed` has for `usage`.
    #[must_use]
    pub fn root(seed: &[u8; 32], usage: &str) -> Self {
        Self::split(&hmac_sha512(
            &[usage.as_bytes(), b" Master Seed"].concat(),
            &[seed],
        ))
    }

    /// The child called `index`.
    #[must_use]
    pub fn child(&self, index: &str) -> Self {
        Self::split(&hmac_sha512(&*self.chain_code, &[&[0], index.as_bytes()]))
    }

    /// The node at the end of `path`, from the root that `seed` has for `usage`.
    #[must_use]
    pub fn derive(seed: &[u8; 32], usage: &str, path: &[&str]) -> Self {
        path.iter()
            .fold(Self::root(seed, usage), |node, index| node.child(index))
    }

    /// The key of the node.
    #[must_use]
    pub fn expose_key(&self) -> &[u8; 32] {
        &self.key
    }

    /// The chain code of the node, as secret as its key.
    #[must_use]
    pub fn expose_chain_code(&self) -> &[u8; 32] {
        &self.chain_code
    }

    fn split(output: &[u8; 64]) -> Self {
        let mut node = Self {
            key: Zeroizing::new([0; 32]),
            chain_code: Zeroizing::new([0; 32]),
        };
        let (key, chain_code) = output.split_at(32);
        fill(&mut *node.key, key);
        fill(&mut *node.chain_code, chain_code);
        node
    }
}

impl fmt::Debug for KeyNode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyNode(redacted)")
    }
}

impl AccountSecret {
    /// The key pair that the data keys of the account's sessions are boxed to.
    #[must_use]
    pub fn content_key_pair(&self) -> BoxKeyPair {
        let node = KeyNode::derive(&self.0, "Happy EnCoder", &["content"]);
        BoxKeyPair::from_seed(node.expose_key())
    }

    /// The key of blobs in the `legacy` variant.
    #[must_use]
    pub fn blob_key(&self) -> BlobKey {
        let node = KeyNode::derive(&self.0, "Happy Blobs", &["master"]);
        BlobKey::from_bytes(node.expose_key())
    }

    /// The public key that names the account at the server.
    #[must_use]
    pub fn signing_public_key(&self) -> [u8; 32] {
        self.signing_key().verifying_key().to_bytes()
    }

    /// Signs the challenge of an authentication; the client makes it up, 32 random bytes.
    #[must_use]
    pub fn sign(&self, challenge: &[u8; 32]) -> [u8; 64] {
        self.signing_key().sign(challenge).to_bytes()
    }

    /// The body of `POST /v1/auth` (relay.md §3).
    #[must_use]
    pub fn authentication(&self, challenge: &[u8; 32]) -> String {
        let mut object = Object::new();
        object
            .member("publicKey", &*base64::encode(&self.signing_public_key()))
            .member("challenge", &*base64::encode(challenge))
            .member("signature", &*base64::encode(&self.sign(challenge)));
        object.finish()
    }

    fn signing_key(&self) -> SigningKey {
        SigningKey::from_bytes(&self.0)
    }
}

impl DataKey {
    /// The key of a session's blobs in the `dataKey` variant.
    #[must_use]
    pub fn blob_key(&self) -> BlobKey {
        let node = KeyNode::derive(&self.0, "Happy Blobs", &["session"]);
        BlobKey::from_bytes(node.expose_key())
    }
}

/// The public half of a [`BoxKeyPair`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PublicKey([u8; 32]);

impl PublicKey {
    /// Takes the key's bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The key that `text` spells in base64; `None` unless that is 32 bytes.
    #[must_use]
    pub fn from_base64(text: &str) -> Option<Self> {
        base64::decode(text).try_into().ok().map(Self)
    }

    /// The key's bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// A key pair that boxes are sealed to (X25519).
pub struct BoxKeyPair {
    secret: StaticSecret,
    public: PublicKey,
}

impl BoxKeyPair {
    /// The pair of a secret key: 32 random bytes, or one that was kept.
    #[must_use]
    pub fn from_secret(secret: &[u8; 32]) -> Self {
        let secret = StaticSecret::from(*secret);
        let public = PublicKey(x25519_dalek::PublicKey::from(&secret).to_bytes());
        Self { secret, public }
    }

    /// The pair of a seed, as libsodium makes one: the secret key is the first half of its
    /// SHA-512.
    #[must_use]
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        let digest = Zeroizing::new(<[u8; 64]>::from(Sha512::digest(seed)));
        let mut secret = Zeroizing::new([0; 32]);
        fill(&mut *secret, &*digest);
        Self::from_secret(&secret)
    }

    /// The public half.
    #[must_use]
    pub const fn public(&self) -> PublicKey {
        self.public
    }

    /// The secret half.
    #[must_use]
    pub fn expose_secret(&self) -> &[u8; 32] {
        self.secret.as_bytes()
    }

    /// What the two owners of the pairs share; `None` when the other key is one of the few that
    /// force a known secret.
    pub(super) fn agree(&self, other: PublicKey) -> Option<Zeroizing<[u8; 32]>> {
        let shared = self
            .secret
            .diffie_hellman(&x25519_dalek::PublicKey::from(other.0));
        shared
            .was_contributory()
            .then(|| Zeroizing::new(shared.to_bytes()))
    }
}

impl fmt::Debug for BoxKeyPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BoxKeyPair")
            .field("public", &self.public)
            .finish_non_exhaustive()
    }
}

/// The first bytes of `from`, as many as `to` has.
pub(super) fn fill(to: &mut [u8], from: &[u8]) {
    for (to, from) in to.iter_mut().zip(from) {
        *to = *from;
    }
}

fn hmac_sha512(key: &[u8], message: &[&[u8]]) -> Zeroizing<[u8; 64]> {
    // A key is padded to the block, and hashed when it is longer (RFC 2104): a whole block goes
    // in as it is, which cannot fail.
    let mut block = Zeroizing::new([0; 128]);
    if key.len() > block.len() {
        fill(&mut *block, &Sha512::digest(key));
    } else {
        fill(&mut *block, key);
    }
    let mut mac = Hmac::<Sha512>::new((&*block).into());
    for part in message {
        mac.update(part);
    }
    Zeroizing::new(mac.finalize().into_bytes().into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;
    use alloc::string::ToString;

    /// RFC 4231, test cases 1, 6: a short key, and one longer than the block.
    #[test]
    fn hmac_is_that_of_the_rfc() {
        let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
        let mac = hmac_sha512(&[0x0b; 20], &[b"Hi ", b"There"]);
        assert!(hex(&*mac).starts_with("87aa7cdea5ef619d4ff0b4241a1d6cb02379f4e2ce4ec2787ad0b305"));
        let mac = hmac_sha512(
            &[0xaa; 131],
            &[b"Test Using Larger Than Block-Size Key - Hash Key First"],
        );
        assert!(hex(&*mac).starts_with("80b24263c7c1a3ebb71493c1dd7be8b49b46d1f41b4aeec1121b0137"));
    }

    /// A key is padded with zeros up to a block, and one of a whole block is not hashed.
    #[test]
    fn a_key_of_a_whole_block_goes_in_as_it_is() {
        let mut whole = [7; 128];
        whole[127] = 0;
        let padded = hmac_sha512(&whole[..127], &[b"x"]);
        assert_eq!(*hmac_sha512(&whole, &[b"x"]), *padded);
    }

    /// RFC 8032, the first key; and the signature is that of the challenge.
    #[test]
    fn signatures_are_those_of_the_account() {
        use ed25519_dalek::{Signature, VerifyingKey};

        let secret: [u8; 32] = [
            0x9d, 0x61, 0xb1, 0x9d, 0xef, 0xfd, 0x5a, 0x60, 0xba, 0x84, 0x4a, 0xf4, 0x92, 0xec,
            0x2c, 0xc4, 0x44, 0x49, 0xc5, 0x69, 0x7b, 0x32, 0x69, 0x19, 0x70, 0x3b, 0xac, 0x03,
            0x1c, 0xae, 0x7f, 0x60,
        ];
        let secret = AccountSecret::from_bytes(&secret);
        let public = secret.signing_public_key();
        let start = [0xd7, 0x5a, 0x98, 0x01, 0x82, 0xb1, 0x0a, 0xb7];
        assert_eq!(public[..8], start);
        let key = VerifyingKey::from_bytes(&public).unwrap();
        let signature = Signature::from_bytes(&secret.sign(&[5; 32]));
        assert!(key.verify_strict(&[5; 32], &signature).is_ok());
        assert!(key.verify_strict(&[6; 32], &signature).is_err());
    }

    /// relay.md §4.4, from the root on.
    #[test]
    fn a_node_is_the_two_halves_of_its_mac() {
        let whole = |node: &KeyNode| [*node.expose_key(), *node.expose_chain_code()].concat();
        let root = KeyNode::root(&[7; 32], "Use");
        let mac = hmac_sha512(b"Use Master Seed", &[&[7; 32]]);
        assert_eq!(whole(&root), mac.to_vec());
        let child = root.child("i");
        let mac = hmac_sha512(root.expose_chain_code(), &[b"\0i"]);
        assert_eq!(whole(&child), mac.to_vec());
        let derived = KeyNode::derive(&[7; 32], "Use", &["i"]);
        assert_eq!(whole(&derived), mac.to_vec());
    }

    #[test]
    fn nothing_secret_is_printed() {
        let secret = AccountSecret::from_bytes(&[7; 32]);
        let shown = format!(
            "{:?} {:?} {:?} {:?} {:?}",
            secret,
            DataKey::from_bytes(&[7; 32]),
            secret.blob_key(),
            KeyNode::root(&[7; 32], "x"),
            BoxKeyPair::from_secret(&[7; 32]),
        );
        assert!(!shown.contains("7, 7, 7"), "{shown}");
        for name in [
            "AccountSecret(red",
            "DataKey(red",
            "BlobKey(red",
            "KeyNode(red",
            "BoxKeyPair",
        ] {
            assert!(shown.contains(name), "{name}: {shown}");
        }
    }

    #[test]
    fn a_secret_is_32_bytes() {
        let text = base64::encode(&[9; 32]);
        assert_eq!(
            AccountSecret::from_base64(&text).unwrap().expose(),
            &[9; 32]
        );
        assert!(DataKey::from_base64(&text[..40]).is_none());
        assert!(DataKey::from_slice(&[0; 33]).is_none());
        assert!(PublicKey::from_base64("AA").is_none());
        assert_eq!(
            PublicKey::from_base64(&text),
            Some(PublicKey::from_bytes([9; 32]))
        );
    }

    #[test]
    fn two_pairs_agree_and_weak_keys_are_refused() {
        let (a, b) = (
            BoxKeyPair::from_secret(&[1; 32]),
            BoxKeyPair::from_secret(&[2; 32]),
        );
        assert_eq!(*a.agree(b.public()).unwrap(), *b.agree(a.public()).unwrap());
        assert!(a.agree(PublicKey::from_bytes([0; 32])).is_none());
        assert_eq!(b.expose_secret(), &[2; 32]);
    }

    #[test]
    fn the_authentication_names_the_account() {
        let secret = AccountSecret::from_bytes(&[3; 32]);
        let body = secret.authentication(&[4; 32]);
        for part in [
            base64::encode(&secret.signing_public_key()),
            base64::encode(&[4; 32]),
            base64::encode(&secret.sign(&[4; 32])),
        ] {
            assert!(body.contains(&part));
        }
        assert!(!body.contains(&base64::encode(&[3; 32]).to_string()));
    }
}
