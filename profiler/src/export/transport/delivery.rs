//! What came of a request, and the words for it.

use std::{
    io,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use reqwest::{
    Response,
    header::{CONTENT_TYPE, HeaderValue, LOCATION, RETRY_AFTER},
};
use rustls::AlertDescription;

use crate::{
    export::retry::{Answer, retry_after},
    time::{SECOND, UnixNanos},
};

/// How long to wait for the body of an answer.
const WAIT_FOR_WORDS: Duration = Duration::from_secs(1);
/// Bytes of an answer that are read.
const MOST_WORDS: usize = 4_096;

/// What came of a request.
#[derive(Debug)]
pub enum Delivery {
    /// The server has answered.
    Answered(Answer),
    /// No byte of the body has left: the server has nothing.
    NotSent(String),
    /// The body, or a part of it, has left, and no answer has come.
    Lost(String),
}

/// What the server has answered.
pub(super) async fn answer(mut response: Response) -> Answer {
    let header = |name| {
        let value: &HeaderValue = response.headers().get(name)?;
        value.to_str().ok().map(str::to_owned)
    };
    let status = response.status().as_u16();
    let mut answer = Answer {
        status,
        retry_after: header(RETRY_AFTER)
            .and_then(|value| retry_after(&value, UnixNanos::now().0 / SECOND)),
        location: header(LOCATION).filter(|_| (300..400).contains(&status)),
        is_page: header(CONTENT_TYPE).is_some_and(|kind| is_html(&kind)),
        body: String::new(),
    };
    // The status is the answer; the body is for people. Reading it to its end keeps the connection open.
    let mut words = Vec::new();
    let reading = async {
        while words.len() < MOST_WORDS
            && let Ok(Some(chunk)) = response.chunk().await
        {
            words.extend_from_slice(&chunk);
        }
    };
    // The bytes that have come by then are enough.
    let _ = tokio::time::timeout(WAIT_FOR_WORDS, reading).await;
    words.truncate(MOST_WORDS);
    if status != 200 {
        answer.body = String::from_utf8_lossy(&words).into_owned();
    }
    answer
}

fn is_html(kind: &str) -> bool {
    const HTML: &str = "text/html";
    let head = kind.as_bytes().get(..HTML.len());
    head.is_some_and(|head| head.eq_ignore_ascii_case(HTML.as_bytes()))
}

/// What came of a request without an answer, of which the server may have taken something.
pub(super) fn failure(error: reqwest::Error, taken: &AtomicBool) -> Delivery {
    let error = error.without_url();
    // The address is in the log line already, and may be long.
    let reason = if error.is_connect() {
        format!("cannot connect: {}", why(&error))
    } else if error.is_timeout() {
        "no answer in time".to_owned()
    } else {
        why(&error)
    };
    if taken.load(Ordering::Relaxed) && !is_refused(&error) {
        Delivery::Lost(reason)
    } else {
        Delivery::NotSent(reason)
    }
}

/// Whether the server does not accept our certificate. From TLS 1.3 on it says so only after the client has begun to
/// send, and it reads nothing of that.
fn is_refused(error: &reqwest::Error) -> bool {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        let inner = error
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref);
        let tls = match inner {
            Some(inner) => inner.downcast_ref(),
            None => error.downcast_ref(),
        };
        if let Some(rustls::Error::AlertReceived(alert)) = tls {
            return CERTIFICATE_ALERTS.contains(alert);
        }
        cause = error.source();
    }
    false
}

/// Alerts about a client's certificate (RFC 8446, 6.2).
const CERTIFICATE_ALERTS: [AlertDescription; 8] = [
    AlertDescription::BadCertificate,
    AlertDescription::UnsupportedCertificate,
    AlertDescription::CertificateRevoked,
    AlertDescription::CertificateExpired,
    AlertDescription::CertificateUnknown,
    AlertDescription::UnknownCA,
    AlertDescription::AccessDenied,
    AlertDescription::CertificateRequired,
];

/// Why a request has failed. The first two errors are left out: they say that it has, and in which part of the client.
fn why(error: &reqwest::Error) -> String {
    let error: &dyn std::error::Error = error;
    let cause = error.source().and_then(std::error::Error::source);
    chain(cause.unwrap_or(error))
}

/// An error with all its causes: a library's outermost error often says only that something went wrong.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let words = error.to_string();
        if !text.ends_with(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::is_html;

    /// Media types are the same in capitals, and may have parameters.
    #[test]
    fn pages() {
        assert!(is_html("text/html") && is_html("Text/HTML; charset=utf-8"));
        assert!(!is_html("application/proto") && !is_html("text") && !is_html(""));
    }
}
