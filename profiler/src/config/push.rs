//! How pushes go, and with which credentials.

use std::time::Duration;

use super::ConfigError;
use crate::{
    cli::{AccessArguments, PushArguments},
    export::{Credentials, PaceLimits, transport::ClientFiles},
};

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

impl From<PushArguments> for Push {
    fn from(arguments: PushArguments) -> Self {
        Self {
            queue_bytes: arguments.push_queue,
            pace: PaceLimits {
                request_bytes: arguments.push_request_size,
                bytes_a_second: arguments.push_rate,
                requests: arguments.push_requests.into(),
                ..PaceLimits::default()
            },
            timeout: arguments.push_timeout,
        }
    }
}

/// The agent's credentials; files that cannot be read are refused when they are used.
pub(super) fn credentials(access: &AccessArguments) -> Result<Option<Credentials>, ConfigError> {
    let AccessArguments {
        basic_auth_user: user,
        basic_auth_password_file: password_file,
        bearer_token_file: token_file,
        ..
    } = access;
    match (user.clone(), password_file.clone(), token_file.clone()) {
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

pub(super) fn client_files(access: &AccessArguments) -> Result<Option<ClientFiles>, ConfigError> {
    match (&access.client_certificate_file, &access.client_key_file) {
        (None, None) => Ok(None),
        (Some(certificate), Some(key)) => Ok(Some(ClientFiles {
            certificate: certificate.clone(),
            key: key.clone(),
        })),
        _ => Err(ConfigError::HalfCertificate),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::Push;
    use crate::{
        cli::{Cli, Command},
        config::Sampling,
        export::PaceLimits,
        kernel::Limits,
        profile::{NativeFrames, SpanLabel},
    };

    /// The defaults of the options are those of the rooms which they are for.
    #[test]
    fn defaults_of_the_rooms() {
        let cli = Cli::try_parse_from(["spanprof", "agent"]).unwrap();
        let Command::Agent(arguments) = cli.command else {
            panic!("not agent")
        };
        let sampling = Sampling::from(&arguments.sampling);
        assert_eq!(sampling.limits, Limits::default());
        assert_eq!(sampling.span_label, SpanLabel::default());
        assert_eq!(
            NativeFrames::from(arguments.native),
            NativeFrames::default()
        );
        assert_eq!(Push::from(arguments.push).pace, PaceLimits::default());
    }
}
