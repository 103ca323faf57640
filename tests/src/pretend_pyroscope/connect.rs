//! The Connect protocol's unary calls, as connect-go 1.19 serves them: which requests are calls at all, and
//! how answers are encoded.

use std::io::{self, Read as _, Write as _};

use flate2::{Compression, read::GzDecoder, write::GzEncoder};

use super::{
    http::{Request, Response},
    refusal::Refusal,
};

/// How a message is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Codec {
    Proto,
    Json,
}

/// A call that may be decoded.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) codec: Codec,
    /// The message, uncompressed.
    pub(super) message: Vec<u8>,
    is_gzip_answered: bool,
}

/// Why a request is no call.
#[derive(Debug)]
pub(super) enum NoCall {
    /// A status without words.
    Empty(Response),
    Refused(Refusal),
}

impl Call {
    /// The call in a request.
    pub(super) fn of(request: &Request) -> Result<Self, NoCall> {
        if request.method != "POST" {
            let response = Response::empty(405).with_header("Allow", "POST");
            return Err(NoCall::Empty(response));
        }
        let media = request.header("content-type").split(';').next();
        let codec = match media.unwrap_or_default().trim() {
            "application/proto" => Codec::Proto,
            "application/json" => Codec::Json,
            _ => {
                let accepted = "application/json, application/proto";
                let response = Response::empty(415).with_header("Accept-Post", accepted);
                return Err(NoCall::Empty(response));
            }
        };
        let version = request.header("connect-protocol-version");
        if !matches!(version, "" | "1") {
            let words = format!("connect-protocol-version must be \"1\": got \"{version}\"");
            return Err(NoCall::Refused(Refusal::invalid(words)));
        }
        let encoding = request.header("content-encoding");
        let message = match encoding {
            "" | "identity" => request.body.clone(),
            "gzip" => gunzip(&request.body).map_err(NoCall::Refused)?,
            _ => {
                let words =
                    format!("unknown compression \"{encoding}\": supported encodings are gzip");
                return Err(NoCall::Refused(Refusal::unimplemented(words)));
            }
        };
        let mut accepted = request.header("accept-encoding").split(',').map(str::trim);
        Ok(Self {
            codec,
            message,
            // A client that has sent gzip gets it, even if it accepts none.
            is_gzip_answered: encoding == "gzip" || accepted.any(|it| it == "gzip"),
        })
    }

    /// The answer with a message in the call's codec.
    pub(super) fn answer(&self, message: Vec<u8>) -> Response {
        let content_type = match self.codec {
            Codec::Proto => "application/proto",
            Codec::Json => "application/json",
        };
        let response = Response::new(200, content_type, Vec::new());
        if !self.is_gzip_answered {
            return response.with_body(message);
        }
        match gzip(&message) {
            Ok(body) => response
                .with_header("Content-Encoding", "gzip")
                .with_body(body),
            Err(error) => Refusal::unknown(error.to_string()).response(),
        }
    }
}

pub(crate) fn gunzip(bytes: &[u8]) -> Result<Vec<u8>, Refusal> {
    let mut plain = Vec::new();
    match (bytes, GzDecoder::new(bytes).read_to_end(&mut plain)) {
        ([0x1f, 0x8b, ..], Ok(_)) => Ok(plain),
        ([0x1f, 0x8b, ..], Err(_)) => Err(Refusal::invalid("decompress: unexpected EOF")),
        ([], _) => Err(Refusal::invalid("get decompressor: EOF")),
        _ => Err(Refusal::invalid("get decompressor: gzip: invalid header")),
    }
}

pub(super) fn gzip(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes)?;
    encoder.finish()
}
