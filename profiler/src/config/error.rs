//! Settings that make no sense.

use std::path::PathBuf;

/// Settings that make no sense.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The command line, or a variable of the environment, is wrong: clap says how.
    #[error(transparent)]
    Usage(#[from] clap::Error),
    /// The file cannot be read.
    #[error("cannot read {path}: {error}", path = path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// The file is not what it should be.
    #[error("{path} is not a valid configuration: {error}", path = path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// Why.
        error: Box<toml::de::Error>,
    },
    /// Nothing says where to push.
    #[error(
        "no server to push to: give --pyroscope-url http://host:4040, or SPANPROF_PYROSCOPE_URL, or pyroscope_url in the file of --config"
    )]
    NoServer,
    /// Half of a user and password.
    #[error("--basic-auth-user and --basic-auth-password-file go together: one of them is missing")]
    HalfAuth,
    /// Two kinds of credentials.
    #[error(
        "--bearer-token-file and --basic-auth-user are two ways to say who the agent is: give one"
    )]
    TwoCredentials,
    /// Half of a client certificate.
    #[error("--client-certificate-file and --client-key-file go together: one of them is missing")]
    HalfCertificate,
    /// A list of labels that says none, and names some.
    #[error("--service-labels: none goes with nothing else")]
    NoneAndMore,
}
