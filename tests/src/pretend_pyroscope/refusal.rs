//! Answers that are not 200, in Connect's words.

use serde_json::json;

use super::http::Response;

/// An answer that is not 200.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// HTTP status.
    pub status: u16,
    /// Connect code.
    pub code: &'static str,
    /// The server's words.
    pub message: String,
}

impl Refusal {
    fn new(status: u16, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            code,
            message: message.into(),
        }
    }

    /// It is wrong as it is.
    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Self::new(400, "invalid_argument", message)
    }

    /// There was too much of something.
    pub(super) fn exhausted(message: impl Into<String>) -> Self {
        Self::new(429, "resource_exhausted", message)
    }

    /// The request names no tenant, or not a valid one.
    pub(super) fn unauthenticated(message: impl Into<String>) -> Self {
        Self::new(401, "unauthenticated", message)
    }

    /// The server cannot do that.
    pub(super) fn unimplemented(message: impl Into<String>) -> Self {
        Self::new(501, "unimplemented", message)
    }

    /// The server has failed, and says no more than an error of Go's.
    pub(super) fn unknown(message: impl Into<String>) -> Self {
        Self::new(500, "unknown", message)
    }

    /// The answer with the error as JSON, which it is whatever the request was, and never compressed.
    pub(super) fn response(&self) -> Response {
        let body = json!({"code": self.code, "message": self.message});
        Response::json(self.status, &body)
    }
}
