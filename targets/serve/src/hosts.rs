//! Who may ask: the checks that keep pages of other sites out.
//!
//! A page that a browser has loaded from elsewhere can send requests to this machine, and by a name
//! whose address changes (DNS rebinding) it can even read the answers. The browser says which name
//! it called (`Host`) and whose page it is (`Origin`); programs that are no browser send no origin.

use std::net::IpAddr;

use axum::http::{HeaderMap, HeaderValue, header};

use crate::error::ApiError;

/// Names and origins that are served.
#[derive(Clone, Debug)]
pub(crate) struct Hosts {
    names: Vec<String>,
    origins: Vec<String>,
}

impl Hosts {
    pub(crate) fn new(names: &[String], origins: &[String]) -> Self {
        let lower = |texts: &[String]| texts.iter().map(|text| text.to_ascii_lowercase()).collect();
        Self { names: lower(names), origins: lower(origins) }
    }

    /// Checks the headers; gives the origin of another site's page that may read the answer.
    ///
    /// # Errors
    ///
    /// The name is none of this server, or the page is of a site that was not let in.
    pub(crate) fn check(&self, headers: &HeaderMap) -> Result<Option<HeaderValue>, ApiError> {
        let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
        let host = host.ok_or_else(|| ApiError::request("the header Host is missing"))?;
        let host = host.to_ascii_lowercase();
        if !self.is_known(name(&host)) {
            return Err(ApiError::forbidden(format!(
                "the name {} is not one of this server; start it with --host or --allow-host to \
                 let it in",
                name(&host)
            )));
        }
        let Some(origin) = headers.get(header::ORIGIN) else { return Ok(None) };
        let text = origin.to_str().unwrap_or_default().to_ascii_lowercase();
        let own = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
        if own == Some(&*host) {
            return Ok(None);
        }
        if self.origins.iter().any(|known| known == "*" || *known == text) {
            return Ok(Some(origin.clone()));
        }
        Err(ApiError::forbidden(format!(
            "pages of {text} may not use this server; start it with --cors-origin {text} to let \
             them in"
        )))
    }

    /// A number is no name that could come to mean another machine.
    fn is_known(&self, name: &str) -> bool {
        let number = name.strip_prefix('[').and_then(|name| name.strip_suffix(']'));
        name == "localhost"
            || name.ends_with(".localhost")
            || number.unwrap_or(name).parse::<IpAddr>().is_ok()
            || self.names.iter().any(|known| known == name)
    }
}

/// A host without its port.
fn name(host: &str) -> &str {
    if host.ends_with(']') {
        return host;
    }
    host.rsplit_once(':').map_or(host, |(name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(host: &str, origin: Option<&str>) -> Result<Option<String>, u16> {
        let hosts = Hosts::new(&["Box.lan".into()], &["https://app.example".into()]);
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, host.parse().unwrap());
        if let Some(origin) = origin {
            headers.insert(header::ORIGIN, origin.parse().unwrap());
        }
        match hosts.check(&headers) {
            Ok(origin) => Ok(origin.map(|origin| origin.to_str().unwrap().to_owned())),
            Err(error) => Err(error.status().as_u16()),
        }
    }

    #[test]
    fn names_that_can_be_rebound_are_refused() {
        for host in ["localhost", "localhost:8080", "127.0.0.1:1", "[::1]:8080", "[::1]"] {
            assert_eq!(check(host, None), Ok(None), "{host}");
        }
        for host in ["box.lan", "BOX.lan:80", "a.localhost", "192.168.0.2:80"] {
            assert_eq!(check(host, None), Ok(None), "{host}");
        }
        for host in ["evil.example", "localhost.evil.example:8080", "127.0.0.1.evil.example"] {
            assert_eq!(check(host, None), Err(403), "{host}");
        }
    }

    #[test]
    fn pages_of_other_sites_are_refused_unless_let_in() {
        let host = "localhost:8080";
        assert_eq!(check(host, Some("http://localhost:8080")), Ok(None));
        let app = "https://app.example";
        assert_eq!(check(host, Some(app)), Ok(Some(app.into())));
        for origin in ["http://localhost:3000", "https://evil.example", "null"] {
            assert_eq!(check(host, Some(origin)), Err(403), "{origin}");
        }
    }
}
