//! What a value may be, and what is said of one that is not.

use std::time::Duration;

/// A time, such as 10s, 500ms or 2m.
pub(super) fn parse_duration(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(duration) if duration >= Duration::from_millis(100) => Ok(duration),
        Ok(_) => Err("at least 100ms".to_owned()),
        Err(error) => Err(format!("{error}; write 10s, 500ms or 2m")),
    }
}

/// The length of a profile.
pub(super) fn parse_interval(text: &str) -> Result<Duration, String> {
    match parse_duration(text)? {
        length if (Duration::from_secs(1)..=Duration::from_secs(30)).contains(&length) => {
            Ok(length)
        }
        _ => Err("from 1s to 30s".to_owned()),
    }
}

/// A number of bytes, such as 1048576, 64MiB or 4MB.
pub(super) fn parse_bytes(text: &str) -> Result<usize, String> {
    let size: bytesize::ByteSize = text.parse().map_err(|_unparsable| {
        "write a number of bytes, such as 1048576, 64MiB or 4MB".to_owned()
    })?;
    match usize::try_from(size.as_u64()) {
        Ok(bytes @ 65_536..) => Ok(bytes),
        Ok(_) => Err("at least 64KiB".to_owned()),
        Err(_) => Err("more than this machine can address".to_owned()),
    }
}

pub(super) fn parse_tag(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("write KEY=VALUE")?;
    Ok((key.to_owned(), value.to_owned()))
}

pub(super) fn parse_percent(text: &str) -> Result<f64, String> {
    match text.trim_end_matches('%').trim_end().parse::<f64>() {
        Ok(percent) if (0.0..=100.0).contains(&percent) => Ok(percent),
        _ => Err("a number from 0 to 100".to_owned()),
    }
}

pub(super) fn parse_ring_size(text: &str) -> Result<u32, String> {
    match text.parse::<u32>() {
        Ok(size) if size.is_power_of_two() && size >= 4096 => Ok(size),
        _ => Err("a power of two of at least 4096".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{parse_bytes, parse_interval, parse_tag};

    /// The first = ends a tag's key.
    #[test]
    fn tags_are_split() {
        assert_eq!(
            parse_tag("region=eu=1"),
            Ok(("region".to_owned(), "eu=1".to_owned()))
        );
        assert!(parse_tag("region").is_err());
    }

    /// What is out of range is told what the range is.
    #[test]
    fn ranges() {
        assert_eq!(parse_interval("30s"), Ok(Duration::from_secs(30)));
        for wrong in ["31s", "999ms"] {
            assert_eq!(parse_interval(wrong), Err("from 1s to 30s".to_owned()));
        }
        assert_eq!(parse_bytes("64KiB"), Ok(65_536));
        assert_eq!(parse_bytes("65535"), Err("at least 64KiB".to_owned()));
    }
}
