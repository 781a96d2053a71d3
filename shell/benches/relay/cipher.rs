//! Sealing and opening against the crates that do the work, in MB of plaintext a second.

use std::hint::black_box;
use std::time::Duration;

use aes_gcm::{AeadInOut as _, Aes256Gcm};
use anyhow::{Result, anyhow, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hallway_core::relay::cipher::{Cipher, Nonce};
use hallway_core::relay::keys::{AccountSecret, DataKey};
use poly1305::Poly1305;
use poly1305::universal_hash::KeyInit as _;
use rustix::time::{ClockId, clock_gettime};
use salsa20::XSalsa20;
use salsa20::cipher::{KeyIvInit as _, StreamCipher as _};

const LENGTHS: [usize; 3] = [200, 4_096, 65_536];
const KEY: [u8; 32] = [7; 32];
const NONCE: [u8; 24] = [9; 24];

/// Does it once; gives how many bytes of plaintext that were.
type Run = Box<dyn FnMut() -> Result<usize>>;

/// One figure, by two ways to do the same.
pub(crate) struct Figure {
    pub(crate) name: String,
    pub(crate) floor: Run,
    pub(crate) ours: Run,
    pub(crate) target: &'static str,
}

/// MB a second of this thread's processor time: there is nothing to wait for, and what else the
/// machine does is no part of it.
pub(crate) fn rate(bytes: usize, run: &mut dyn FnMut() -> Result<usize>) -> Result<f64> {
    let began = processor_time()?;
    let mut done = 0;
    while done < bytes {
        done += run()?;
    }
    let took = processor_time()?.saturating_sub(began).as_secs_f64();
    Ok(f64::from(u32::try_from(done)?) / took / 1_000_000.0)
}

fn processor_time() -> Result<Duration> {
    Ok(clock_gettime(ClockId::ThreadCPUTime).try_into()?)
}

pub(crate) fn figures() -> Vec<Figure> {
    let mut figures = Vec::new();
    for (variant, bare) in [
        ("legacy", Bare::Legacy),
        (
            "dataKey",
            Bare::DataKey(Box::new(Aes256Gcm::new(&KEY.into()))),
        ),
    ] {
        for length in LENGTHS {
            for on_wire in [false, true] {
                let floors = [
                    bare.clone().seal(length, on_wire),
                    bare.clone().open(length, on_wire),
                ];
                let ours = [seal(&bare, length, on_wire), open(&bare, length, on_wire)];
                let verbs = ["encrypt", "decrypt"].into_iter();
                for ((verb, floor), ours) in verbs.zip(floors).zip(ours) {
                    let (wire, target) = match on_wire {
                        false => ("", ">= 0.90"),
                        true => (", base64 and JSON", "none"),
                    };
                    figures.push(Figure {
                        name: format!("MB/s, {variant}, {verb} {length}{wire}"),
                        floor,
                        ours,
                        target,
                    });
                }
            }
        }
    }
    figures
}

/// A JSON string of `length` bytes.
fn plaintext(length: usize) -> String {
    format!("\"{}\"", "x".repeat(length.saturating_sub(2)))
}

fn cipher(bare: &Bare) -> Cipher {
    match bare {
        Bare::Legacy => Cipher::Legacy(AccountSecret::from_bytes(&KEY)),
        Bare::DataKey(_) => Cipher::DataKey(DataKey::from_bytes(&KEY)),
    }
}

fn seal(bare: &Bare, length: usize, on_wire: bool) -> Run {
    let (cipher, plain) = (cipher(bare), plaintext(length));
    Box::new(move || {
        let nonce = Nonce::from_entropy(black_box(NONCE));
        if on_wire {
            black_box(cipher.seal_text(nonce, black_box(&plain))?);
        } else {
            black_box(cipher.seal(nonce, black_box(plain.as_bytes()))?);
        }
        Ok(length)
    })
}

fn open(bare: &Bare, length: usize, on_wire: bool) -> Run {
    let (cipher, plain) = (cipher(bare), plaintext(length));
    let sealed = cipher.seal(Nonce::from_entropy(NONCE), plain.as_bytes());
    let sealed = sealed.unwrap_or_default();
    let text = STANDARD.encode(&sealed);
    Box::new(move || {
        if on_wire {
            black_box(cipher.open_text(black_box(&text))?);
        } else {
            black_box(cipher.open(black_box(&sealed))?);
        }
        Ok(length)
    })
}

/// The crates alone, in place on one buffer: nothing is allocated, and AES has its key schedule
/// from before. On the wire they have a base64 crate beside them, which allocates.
#[derive(Clone)]
enum Bare {
    Legacy,
    DataKey(Box<Aes256Gcm>),
}

impl Bare {
    fn encrypt(&self, message: &mut [u8]) -> Result<[u8; 16]> {
        Ok(match self {
            Self::Legacy => {
                let (mut stream, mac) = salsa();
                stream.apply_keystream(message);
                mac.compute_unpadded(message).into()
            }
            Self::DataKey(aead) => {
                let nonce = nonce()?;
                let tag = aead.encrypt_inout_detached(&nonce.into(), &[], message.into());
                tag.map_err(|_| anyhow!("not sealed"))?.into()
            }
        })
    }

    fn decrypt(&self, message: &mut [u8], tag: &[u8; 16]) -> Result<()> {
        match self {
            Self::Legacy => {
                let (mut stream, mac) = salsa();
                let found: [u8; 16] = mac.compute_unpadded(message).into();
                ensure!(found == *tag, "another tag");
                stream.apply_keystream(message);
            }
            Self::DataKey(aead) => {
                let nonce = nonce()?;
                let opened =
                    aead.decrypt_inout_detached(&nonce.into(), &[], message.into(), tag.into());
                opened.map_err(|_| anyhow!("another tag"))?;
            }
        }
        Ok(())
    }

    fn seal(self, length: usize, on_wire: bool) -> Run {
        let mut buffer = plaintext(length).into_bytes();
        Box::new(move || {
            black_box(self.encrypt(black_box(&mut buffer))?);
            if on_wire {
                black_box(STANDARD.encode(&buffer));
            }
            Ok(length)
        })
    }

    fn open(self, length: usize, on_wire: bool) -> Run {
        let mut sealed = plaintext(length).into_bytes();
        let tag = self.encrypt(&mut sealed);
        let text = STANDARD.encode(&sealed);
        let mut buffer = sealed.clone();
        Box::new(move || {
            let Ok(tag) = &tag else {
                return Err(anyhow!("not sealed"));
            };
            if on_wire {
                let mut buffer = STANDARD.decode(black_box(&text))?;
                self.decrypt(&mut buffer, tag)?;
                black_box(String::from_utf8(buffer)?);
            } else {
                buffer.copy_from_slice(black_box(&sealed));
                self.decrypt(black_box(&mut buffer), tag)?;
            }
            Ok(length)
        })
    }
}

fn nonce() -> Result<[u8; 12]> {
    let first = black_box(&NONCE).first_chunk();
    first.copied().ok_or_else(|| anyhow!("too short"))
}

fn salsa() -> (XSalsa20, Poly1305) {
    let mut stream = XSalsa20::new(black_box(&KEY).into(), black_box(&NONCE).into());
    let mut key = [0; 32];
    stream.apply_keystream(&mut key);
    (stream, Poly1305::new((&key).into()))
}
