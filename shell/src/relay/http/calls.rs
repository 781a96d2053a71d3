//! The requests.

use hallway_core::relay::base64;
use hallway_core::relay::keys::{AccountSecret, PublicKey};
use hallway_core::relay::pairing;
use hallway_core::relay::raw::{Raw, Text};

use super::rows::string;
use super::{
    Call, Http, HttpError, Machine, MachineRow, NewSession, Pairing, PairingStatus, SessionRow,
};
use crate::entropy;
use crate::net::AccessToken;
use crate::net::origin::encoded;

/// The longest list that is read.
const MAX_ROWS: usize = 10_000;

/// The least and the most messages of a page that the server gives.
const PAGE: std::ops::RangeInclusive<u32> = 1..=500;

impl Http {
    /// Shows the server that we have the account's secret. The account is made on first use.
    ///
    /// # Errors
    ///
    /// [`HttpError`]
    pub async fn authenticate(&self, secret: &AccountSecret) -> Result<AccessToken, HttpError> {
        let mut challenge = [0; 32];
        entropy::fill(&mut challenge).map_err(|error| HttpError::Entropy(error.to_string()))?;
        let body = secret.authentication(&challenge);
        let answer = self.post("/v1/auth", None, &body).await?;
        let token = member(&answer, "token").and_then(|token| AccessToken::parse(&token).ok());
        token.ok_or(HttpError::Nonsense("token"))
    }

    /// Asks to be paired, or how far that is. The key is the terminal's, made for this pairing.
    ///
    /// # Errors
    ///
    /// [`HttpError`]
    pub async fn request_pairing(&self, terminal: PublicKey) -> Result<Pairing, HttpError> {
        let key = pairing::public_key(terminal);
        let body = format!(
            r#"{{"publicKey":{},"supportsV2":true}}"#,
            Text::new(&key).raw().as_str()
        );
        let answer = self.post("/v1/auth/request", None, &body).await?;
        match member(&answer, "state").as_deref() {
            Some("requested") => Ok(Pairing::Requested),
            Some("authorized") => {
                let token = member(&answer, "token");
                let token = token.and_then(|token| AccessToken::parse(&token).ok());
                Ok(Pairing::Authorized {
                    token: token.ok_or(HttpError::Nonsense("token"))?,
                    response: member(&answer, "response").ok_or(HttpError::Nonsense("response"))?,
                })
            }
            Some(_) | None => Err(HttpError::Nonsense("state of the pairing")),
        }
    }

    /// How far the pairing of a terminal is.
    ///
    /// # Errors
    ///
    /// [`HttpError`]
    pub async fn pairing_status(&self, terminal: PublicKey) -> Result<PairingStatus, HttpError> {
        let path = format!(
            "/v1/auth/request/status?publicKey={}",
            encoded(&pairing::public_key(terminal))
        );
        let answer = self.get(&path, None).await?;
        match member(&answer, "status").as_deref() {
            Some("not_found") => Ok(PairingStatus::NotFound),
            Some("authorized") => Ok(PairingStatus::Authorized),
            Some("pending") => {
                let raw = Raw::parse(&answer).and_then(|raw| raw.get("supportsV2"));
                let takes_data_key = raw.and_then(Raw::boolean).unwrap_or_default();
                Ok(PairingStatus::Pending { takes_data_key })
            }
            Some(_) | None => Err(HttpError::Nonsense("status of the pairing")),
        }
    }

    /// Approves the pairing of a terminal: `response` is the boxed answer.
    ///
    /// # Errors
    ///
    /// [`HttpError`]
    pub async fn approve_pairing(
        &self,
        token: &AccessToken,
        terminal: PublicKey,
        response: &str,
    ) -> Result<(), HttpError> {
        let key = pairing::public_key(terminal);
        let body = object(&[
            ("response", Text::new(response).raw()),
            ("publicKey", Text::new(&key).raw()),
        ]);
        let call = self.post("/v1/auth/response", Some(token), &body);
        call.await.map(drop)
    }

    /// Makes a session, or gives the one of the same tag as it is. A retry does no harm.
    ///
    /// # Errors
    ///
    /// [`HttpError`]
    pub async fn create_session(
        &self,
        token: &AccessToken,
        session: &NewSession<'_>,
    ) -> Result<SessionRow, HttpError> {
        let key = session.data_key.map(Text::new);
        let body = object(&[
            ("tag", Text::new(session.tag).raw()),
            ("metadata", Text::new(session.metadata).raw()),
            ("agentState", Raw::NULL),
            (
                "dataEncryptionKey",
                key.as_ref().map_or(Raw::NULL, Text::raw),
            ),
        ]);
        let answer = self.post("/v1/sessions", Some(token), &body).await?;
        let row = Raw::parse(&answer).and_then(|raw| SessionRow::read(raw.get("session")?));
        row.ok_or(HttpError::Nonsense("session"))
    }

    /// The newest 150 sessions of the account.
    ///
    /// # Errors
    ///
    /// [`HttpError`]
    pub async fn sessions(&self, token: &AccessToken) -> Result<Vec<SessionRow>, HttpError> {
        let answer = self.get("/v1/sessions", Some(token)).await?;
        let list = Raw::parse(&answer).and_then(|raw| rows(raw.get("sessions")?, SessionRow::read));
        list.ok_or(HttpError::Nonsense("sessions"))
    }

    /// Marks a session as no longer active.
    ///
    /// # Errors
    ///
    /// [`HttpError`]
    pub async fn archive_session(&self, token: &AccessToken, id: &str) -> Result<(), HttpError> {
        let path = format!("/v1/sessions/{}/archive", encoded(id));
        self.post(&path, Some(token), "{}").await.map(drop)
    }

    /// Deletes a session with its messages.
    ///
    /// # Errors
    ///
    /// [`HttpError`]
    pub async fn delete_session(&self, token: &AccessToken, id: &str) -> Result<(), HttpError> {
        let path = format!("/v1/sessions/{}", encoded(id));
        self.call(&Call {
            method: "DELETE",
            path: &path,
            token: Some(token),
            body: None,
            repeatable: true,
        })
        .await
        .map(drop)
    }

    /// A page of at most `limit` messages after number `after`, ascending: `{messages,hasMore}`,
    /// as the server wrote it. One attempt: the core repeats it.
    ///
    /// # Errors
    ///
    /// [`HttpError`]
    pub async fn messages_after(
        &self,
        token: &AccessToken,
        session: &str,
        after: u64,
        limit: u32,
    ) -> Result<String, HttpError> {
        let limit = limit.clamp(*PAGE.start(), *PAGE.end());
        let path = format!(
            "/v3/sessions/{}/messages?after_seq={after}&limit={limit}",
            encoded(session)
        );
        self.once("GET", &path, token, None).await
    }

    /// The newest 150 messages, the newest first: `{messages}`, as the server wrote it. One
    /// attempt.
    ///
    /// # Errors
    ///
    /// [`HttpError`]
    pub async fn newest_messages(
        &self,
        token: &AccessToken,
        session: &str,
    ) -> Result<String, HttpError> {
        let path = format!("/v1/sessions/{}/messages", encoded(session));
        self.once("GET", &path, token, None).await
    }

    /// Posts messages; `body` is the core's. Gives the server's answer as it wrote it. One
    /// attempt: the core repeats it.
    ///
    /// # Errors
    ///
    /// [`HttpError`]
    pub async fn post_messages(
        &self,
        token: &AccessToken,
        session: &str,
        body: &str,
    ) -> Result<String, HttpError> {
        let path = format!("/v3/sessions/{}/messages", encoded(session));
        self.once("POST", &path, token, Some(body)).await
    }

    /// Makes a machine known, or gives it as it is.
    ///
    /// # Errors
    ///
    /// [`HttpError`]
    pub async fn register_machine(
        &self,
        token: &AccessToken,
        machine: &Machine<'_>,
    ) -> Result<MachineRow, HttpError> {
        let key = machine.data_key.map(Text::new);
        let (id, metadata) = (Text::new(machine.id), Text::new(machine.metadata));
        let mut members = vec![("id", id.raw()), ("metadata", metadata.raw())];
        if let Some(key) = &key {
            members.push(("dataEncryptionKey", key.raw()));
        }
        let answer = self
            .post("/v1/machines", Some(token), &object(&members))
            .await?;
        let row = Raw::parse(&answer).and_then(|raw| MachineRow::read(raw.get("machine")?));
        row.ok_or(HttpError::Nonsense("machine"))
    }

    /// The machine of this id.
    ///
    /// # Errors
    ///
    /// [`HttpError`]
    pub async fn machine(&self, token: &AccessToken, id: &str) -> Result<MachineRow, HttpError> {
        let path = format!("/v1/machines/{}", encoded(id));
        let answer = self.get(&path, Some(token)).await?;
        let row = Raw::parse(&answer).and_then(|raw| MachineRow::read(raw.get("machine")?));
        row.ok_or(HttpError::Nonsense("machine"))
    }

    /// The machines of the account.
    ///
    /// # Errors
    ///
    /// [`HttpError`]
    pub async fn machines(&self, token: &AccessToken) -> Result<Vec<MachineRow>, HttpError> {
        let answer = self.get("/v1/machines", Some(token)).await?;
        let list = Raw::parse(&answer).and_then(|raw| {
            let list = if raw.is_array() {
                raw
            } else {
                raw.get("machines")?
            };
            rows(list, MachineRow::read)
        });
        list.ok_or(HttpError::Nonsense("machines"))
    }

    async fn post(
        &self,
        path: &str,
        token: Option<&AccessToken>,
        body: &str,
    ) -> Result<String, HttpError> {
        self.call(&Call {
            method: "POST",
            path,
            token,
            body: Some(body),
            repeatable: true,
        })
        .await
    }

    async fn get(&self, path: &str, token: Option<&AccessToken>) -> Result<String, HttpError> {
        self.call(&Call {
            method: "GET",
            path,
            token,
            body: None,
            repeatable: true,
        })
        .await
    }

    async fn once(
        &self,
        method: &'static str,
        path: &str,
        token: &AccessToken,
        body: Option<&str>,
    ) -> Result<String, HttpError> {
        self.call(&Call {
            method,
            path,
            token: Some(token),
            body,
            repeatable: false,
        })
        .await
    }
}

/// The name of the account at the server: its public key in hex.
#[must_use]
pub fn account_name(secret: &AccountSecret) -> String {
    let key = secret.signing_public_key();
    key.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The public key that a pairing URL or its last part names, in the URLs' base64.
#[must_use]
pub fn terminal_key(url: &str) -> Option<PublicKey> {
    let key = url.rsplit(['?', '=', '#']).find(|part| !part.is_empty())?;
    base64::decode(key)
        .try_into()
        .ok()
        .map(PublicKey::from_bytes)
}

/// The object of these members, whose values are JSON.
fn object(members: &[(&str, Raw<'_>)]) -> String {
    let members = members
        .iter()
        .map(|(name, value)| [Text::new(name).raw().as_str(), ":", value.as_str()].concat());
    format!("{{{}}}", members.collect::<Vec<_>>().join(","))
}

fn member(answer: &str, name: &str) -> Option<String> {
    string(Raw::parse(answer)?.get(name))
}

/// All elements of `list`; those that cannot be read are passed over.
fn rows<T>(list: Raw<'_>, read: impl Fn(Raw<'_>) -> Option<T>) -> Option<Vec<T>> {
    let mut out = Vec::new();
    let mut seen = 0_usize;
    list.each_element(|element| {
        seen += 1;
        if let Some(row) = read(element) {
            out.push(row);
        } else {
            tracing::debug!("an element of a list cannot be read");
        }
        seen < MAX_ROWS
    })?;
    Some(out)
}
