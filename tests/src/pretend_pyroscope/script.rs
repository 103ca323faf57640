//! What the server does instead of its duty, when a test asks for it.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use super::{http::Response, refusal::Refusal};

/// What the server does with a push instead of its duty.
#[derive(Clone, Debug)]
pub enum Misbehaviour {
    /// Answers with a status and does not store.
    Status(u16),
    /// Answers 429 with `Retry-After` in seconds and does not store.
    RetryAfter(u64),
    /// Answers a status of 3xx with a `Location`, and does not store.
    Redirect(u16, String),
    /// Answers bytes that are no HTTP.
    Garbage,
    /// Answers nothing for so long, then closes.
    Hang(Duration),
    /// Closes at once.
    Close,
    /// Stores, and closes without an answer.
    StoreAndClose,
}

/// Orders that are still to be carried out.
#[derive(Debug, Default)]
pub(super) struct Script {
    /// For the next pushes, one each.
    pub(super) next: VecDeque<Misbehaviour>,
    /// Statuses for the series of services, for as long as they stand here.
    pub(super) services: BTreeMap<String, u16>,
    /// Whether the server is about to end.
    pub(super) is_stopping: bool,
}

impl Script {
    /// Refuses a series of a service that is to be refused.
    pub(super) fn service(&self, name: &str) -> Result<(), Refusal> {
        let words = format!("by script: {name}");
        match self.services.get(name) {
            None => Ok(()),
            Some(status) => Err(refusal(*status, words)),
        }
    }
}

impl Misbehaviour {
    /// The answer that takes the place of the push's own; none if the push is stored, or gets no answer.
    pub(super) fn response(&self) -> Option<Response> {
        match self {
            Self::Status(status) => Some(refusal(*status, "by script".to_owned()).response()),
            Self::RetryAfter(seconds) => {
                let response = Refusal::exhausted("by script").response();
                Some(response.with_header("Retry-After", &seconds.to_string()))
            }
            Self::Redirect(status, location) => {
                Some(Response::empty(*status).with_header("Location", location))
            }
            Self::Garbage => Some(Response::Raw(b"\x00garbage\r\n\r\n".to_vec())),
            Self::Hang(_) | Self::Close => Some(Response::Raw(Vec::new())),
            Self::StoreAndClose => None,
        }
    }
}

fn refusal(status: u16, message: String) -> Refusal {
    let code = match status {
        400 => "invalid_argument",
        401 => "unauthenticated",
        403 => "permission_denied",
        404 => "not_found",
        429 => "resource_exhausted",
        501 => "unimplemented",
        503 => "unavailable",
        504 => "deadline_exceeded",
        _ => "unknown",
    };
    Refusal {
        status,
        code,
        message,
    }
}
