//! Profiles → files and servers.
