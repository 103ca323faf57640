//! How pushes go, and with which credentials.

use std::{path::PathBuf, time::Duration};

use super::{ConfigError, File};
use crate::{
    cli::{PushArguments, parse_bytes, parse_duration},
    export::{Credentials, PaceLimits, transport::ClientFiles},
};

/// How long a request may take.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of profiles that may wait.
const DEFAULT_QUEUE: usize = 64 * 1024 * 1024;

/// Where pushes wait, and how fast they go.
#[derive(Clone, Copy, Debug)]
pub struct Push {
    /// Bytes of memory for what waits.
    pub queue_bytes: usize,
    /// Sizes and rate.
    pub pace: PaceLimits,
    /// How long a request may take.
    pub timeout: Duration,
}

impl Push {
    pub(super) fn merge(arguments: &PushArguments, file: &File) -> Result<Self, ConfigError> {
        let default = PaceLimits::default();
        let bytes = |name, flag: Option<u64>, file: &Option<String>, default: usize| {
            let wrong = |reason| ConfigError::Value { name, reason };
            let file = file.as_deref().map(parse_bytes).transpose();
            let bytes = match flag {
                Some(bytes) => Some(bytes),
                None => file.map_err(wrong)?,
            };
            Ok(bytes.map_or(default, |bytes| {
                usize::try_from(bytes).unwrap_or(usize::MAX)
            }))
        };
        let requests = arguments.push_requests.or(file.push_requests);
        let requests = requests.map_or(default.requests, |number| {
            usize::try_from(number).unwrap_or(usize::MAX)
        });
        if !(1..=64).contains(&requests) {
            return Err(ConfigError::Range {
                name: "push_requests",
                range: "from 1 to 64",
                value: requests.to_string(),
            });
        }
        Ok(Self {
            queue_bytes: bytes(
                "push_queue",
                arguments.push_queue,
                &file.push_queue,
                DEFAULT_QUEUE,
            )?,
            pace: PaceLimits {
                request_bytes: bytes(
                    "push_request_size",
                    arguments.push_request_size,
                    &file.push_request_size,
                    default.request_bytes,
                )?,
                bytes_a_second: bytes(
                    "push_rate",
                    arguments.push_rate,
                    &file.push_rate,
                    default.bytes_a_second,
                )?,
                requests,
                ..default
            },
            timeout: match (arguments.push_timeout, &file.push_timeout) {
                (Some(timeout), _) => timeout,
                (None, Some(text)) => {
                    parse_duration(text).map_err(|reason| ConfigError::Value {
                        name: "push_timeout",
                        reason,
                    })?
                }
                (None, None) => DEFAULT_TIMEOUT,
            },
        })
    }
}

/// The agent's credentials; files that cannot be read are refused when they are used.
pub(super) fn credentials(
    user: Option<String>,
    password_file: Option<PathBuf>,
    token_file: Option<PathBuf>,
) -> Result<Option<Credentials>, ConfigError> {
    match (user, password_file, token_file) {
        (None, None, None) => Ok(None),
        (None, None, Some(token_file)) => Ok(Some(Credentials::Bearer { token_file })),
        (Some(user), Some(password_file), None) => Ok(Some(Credentials::Basic {
            user,
            password_file,
        })),
        (_, _, Some(_)) => Err(ConfigError::TwoCredentials),
        (_, _, None) => Err(ConfigError::HalfAuth),
    }
}

pub(super) fn client_files(
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
) -> Result<Option<ClientFiles>, ConfigError> {
    match (certificate, key) {
        (None, None) => Ok(None),
        (Some(certificate), Some(key)) => Ok(Some(ClientFiles { certificate, key })),
        _ => Err(ConfigError::HalfCertificate),
    }
}
