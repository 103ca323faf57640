//! Which proxy a server is reached through: the environment, read as curl reads it.

use reqwest::{NoProxy, Proxy};

use crate::export::Error;

/// What an environment says of proxies.
#[derive(Debug, Default, PartialEq, Eq)]
struct Found {
    /// Variable and address for `http://` servers.
    http: Option<(&'static str, String)>,
    /// The same for `https://` servers.
    https: Option<(&'static str, String)>,
    /// Servers that are reached without a proxy, separated by commas.
    except: String,
}

/// The proxies that an environment names; `variable` gives the value of a variable.
pub(super) fn proxies(variable: impl Fn(&str) -> Option<String>) -> Result<Vec<Proxy>, Error> {
    let Found {
        http,
        https,
        except,
    } = found(variable)?;
    let except = NoProxy::from_string(&except);
    let mut proxies = Vec::new();
    for (found, of) in [
        (http, Proxy::http as fn(String) -> reqwest::Result<Proxy>),
        (https, Proxy::https),
    ] {
        let Some((name, address)) = found else {
            continue;
        };
        // The parser's error contains the address, and so perhaps a password.
        let proxy = of(address).map_err(|_unparsable| Error::Proxy { variable: name })?;
        proxies.push(proxy.no_proxy(except.clone()));
    }
    Ok(proxies)
}

/// As curl reads them (`curl(1)`, "ENVIRONMENT"): `http_proxy` for `http://` only in lower case, because a CGI script
/// would get `HTTP_PROXY` from its caller; `https_proxy` for `https://` and `all_proxy` for both, in either case, the
/// lower one first. `no_proxy` is a list, separated by commas or blanks, of names (with all below them), addresses,
/// networks such as `10.0.0.0/8`, or `*`.
fn found(variable: impl Fn(&str) -> Option<String>) -> Result<Found, Error> {
    let first = |names: &[&'static str]| {
        names.iter().find_map(|&name| {
            let value = variable(name)?;
            let value = value.trim();
            (!value.is_empty()).then(|| (name, value.to_owned()))
        })
    };
    let address = |names: &[&'static str]| {
        let Some((name, value)) = first(names) else {
            return Ok(None);
        };
        let address = address(&value).ok_or(Error::Proxy { variable: name })?;
        Ok(Some((name, address)))
    };
    let except = first(&["no_proxy", "NO_PROXY"]).map_or_else(String::new, |(_, list)| list);
    let except = by_commas(&except);
    if except.split(',').any(|entry| entry == "*") {
        return Ok(Found::default());
    }
    Ok(Found {
        http: address(&["http_proxy", "all_proxy", "ALL_PROXY"])?,
        https: address(&["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"])?,
        except,
    })
}

/// Accepts only these schemes; an address without one is an HTTP proxy.
fn address(value: &str) -> Option<String> {
    let Some((scheme, rest)) = value.split_once("://") else {
        return Some(format!("http://{value}"));
    };
    let scheme = scheme.to_ascii_lowercase();
    let scheme = match scheme.as_str() {
        // curl's name for version 4.
        "socks" => "socks4",
        "http" | "https" | "socks4" | "socks4a" | "socks5" | "socks5h" => &scheme,
        _ => return None,
    };
    (!rest.is_empty()).then(|| format!("{scheme}://{rest}"))
}

/// A dot at the end of a name means nothing.
fn by_commas(list: &str) -> String {
    let entries = list.split(|character: char| character == ',' || character.is_whitespace());
    let entries: Vec<&str> = entries
        .map(|entry| entry.trim_end_matches('.'))
        .filter(|entry| !entry.is_empty())
        .collect();
    entries.join(",")
}

#[cfg(test)]
mod tests {
    use super::{Found, found, proxies};

    fn of(variables: &[(&str, &str)]) -> Found {
        let value = |name: &str| {
            let mut variables = variables.iter();
            let (_, value) = variables.find(|(key, _)| *key == name)?;
            Some((*value).to_owned())
        };
        assert!(proxies(value).is_ok(), "{variables:?}");
        found(value).unwrap()
    }

    /// Each scheme has its variable, lower case first, and `HTTP_PROXY` is ignored.
    #[test]
    fn by_scheme() {
        let found = of(&[
            ("HTTP_PROXY", "http://evil:1"),
            ("https_proxy", "proxy:3128"),
            ("HTTPS_PROXY", "http://other:1"),
            ("all_proxy", " "),
            ("ALL_PROXY", "socks5h://me:secret@all:1080"),
        ]);
        let all = "socks5h://me:secret@all:1080".to_owned();
        assert_eq!(found.http, Some(("ALL_PROXY", all)));
        let https = "http://proxy:3128".to_owned();
        assert_eq!(found.https, Some(("https_proxy", https)));
        assert_eq!(of(&[("HTTP_PROXY", "http://evil:1")]), Found::default());
    }

    /// The list of exceptions is separated by commas or blanks.
    #[test]
    fn exceptions() {
        let found = of(&[
            ("NO_PROXY", "other"),
            ("no_proxy", " localhost, .example.com.  10.0.0.0/8,, "),
        ]);
        assert_eq!(found.except, "localhost,.example.com,10.0.0.0/8");
        let all = of(&[("all_proxy", "proxy:3128"), ("NO_PROXY", "localhost *")]);
        assert_eq!(all, Found::default());
    }

    /// A value that is no address is refused with the name of its variable, and without the value.
    #[test]
    fn no_address() {
        for wrong in ["ftp://me:secret@proxy", "http://", "http://me:secret@:x"] {
            let value = |name: &str| (name == "https_proxy").then(|| wrong.to_owned());
            let error = proxies(value).unwrap_err().to_string();
            assert!(error.contains("https_proxy"), "{error}");
            assert!(!error.contains("secret"), "{error}");
        }
    }
}
