//! The network: a request to the hub, and what its answer says of the file.
//!
//! The hub answers `resolve` with a redirection to its CDN, and only that redirection has the file's
//! SHA-256 (`X-Linked-ETag`) and length (`X-Linked-Size`). So redirections are followed here, and
//! the token goes to the endpoint alone.

use std::env;
use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use ureq::http::{HeaderMap, Response, StatusCode, Uri, header};
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, TlsProvider, parse_pem};
use ureq::{Agent, Body, Proxy};

use super::source::{HUB, without_secrets};

/// Redirections that are followed.
const MAX_REDIRECTIONS: usize = 10;
/// How long a name, a connection or an answer may take, and a silence in the middle of a file.
const PATIENCE: Duration = Duration::from_secs(60);

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Failure {
    /// The way to the server.
    Network(anyhow::Error),
    /// The server, for the moment.
    Busy(anyhow::Error),
    /// What trying again does not help.
    Lasting(anyhow::Error),
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::Lasting(error)
    }
}

/// What a server sent.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Body,
    /// The hub's own word on the file: its identity and length.
    pub(super) linked_etag: Option<String>,
    pub(super) linked_size: Option<u64>,
    /// The server that sent it.
    pub(super) host: String,
}

/// Where in a file an answer is to begin.
#[derive(Clone, Copy, Debug)]
pub(super) struct Start<'a> {
    pub(super) byte: u64,
    /// The tag of the file that has the bytes before.
    pub(super) etag: Option<&'a str>,
}

pub(super) struct Client {
    agent: Agent,
    endpoint: String,
    origin: Origin,
    token: Option<String>,
}

impl Client {
    /// A client as the environment wants it.
    pub(super) fn new() -> Result<Self> {
        let variable = |name| env::var(name).ok().filter(|value: &String| !value.is_empty());
        let endpoint = variable("HF_ENDPOINT").unwrap_or_else(|| HUB.to_owned());
        let endpoint = endpoint.trim_end_matches('/').to_owned();
        let origin = endpoint.parse().ok().and_then(|uri| Origin::of(&uri));
        let origin = origin.with_context(|| {
            let endpoint = without_secrets(&endpoint);
            format!("HF_ENDPOINT is {endpoint}, which is not the URL of a server such as {HUB}")
        })?;
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .user_agent(concat!("kinglet/", env!("CARGO_PKG_VERSION")))
            .timeout_resolve(Some(PATIENCE))
            .timeout_connect(Some(PATIENCE))
            .timeout_recv_response(Some(PATIENCE))
            .timeout_per_read(Some(PATIENCE))
            .tls_config(tls()?)
            .build();
        Ok(Self { agent: config.into(), endpoint, origin, token: variable("HF_TOKEN") })
    }

    /// The URL of the hub or its mirror, without a `/` at the end.
    pub(super) fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Asks for the file at `url`.
    pub(super) fn get(&self, url: &str, from: Start<'_>) -> Result<Answer, Failure> {
        let parsed = url.parse();
        let mut url: Uri =
            parsed.with_context(|| format!("{} is not a URL", without_secrets(url)))?;
        let (mut linked_etag, mut linked_size) = (None, None);
        for _ in 0..=MAX_REDIRECTIONS {
            let response = self.once(&url, from)?;
            let headers = response.headers();
            linked_etag = linked_etag.or_else(|| text(headers, "x-linked-etag").map(bare));
            linked_size = linked_size
                .or_else(|| text(headers, "x-linked-size").and_then(|size| size.parse().ok()));
            let status = response.status();
            if status.is_redirection() && status != StatusCode::NOT_MODIFIED {
                url = next(&url, headers)?;
                continue;
            }
            let (parts, body) = response.into_parts();
            if matches!(status.as_u16(), 408 | 425 | 429 | 500..) {
                return Err(Failure::Busy(anyhow!("{} answers {status}", host(&url))));
            }
            let headers = parts.headers;
            let host = host(&url);
            return Ok(Answer { status, headers, body, linked_etag, linked_size, host });
        }
        Err(anyhow!("{} redirects more than {MAX_REDIRECTIONS} times", host(&url)).into())
    }

    fn once(&self, url: &Uri, from: Start<'_>) -> Result<Response<Body>, Failure> {
        // A compressed file would have other lengths.
        let mut request = self.agent.get(url).header(header::ACCEPT_ENCODING, "identity");
        if from.byte > 0 {
            request = request.header(header::RANGE, format!("bytes={}-", from.byte));
            if let Some(etag) = from.etag {
                request = request.header(header::IF_RANGE, etag);
            }
        }
        if let Some(token) =
            self.token.as_ref().filter(|_| Origin::of(url).as_ref() == Some(&self.origin))
        {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        request.call().map_err(|error| {
            let network = matches!(
                error,
                ureq::Error::Io(_)
                    | ureq::Error::Timeout(_)
                    | ureq::Error::HostNotFound
                    | ureq::Error::ConnectionFailed
                    | ureq::Error::ConnectProxyFailed(_)
                    | ureq::Error::Protocol(_)
            );
            let by = proxy_of(url).map_or(String::new(), |proxy| format!(" by the proxy {proxy}"));
            let error = anyhow::Error::new(error);
            let error = error.context(format!("cannot reach {}{by}", host(url)));
            if network { Failure::Network(error) } else { Failure::Lasting(error) }
        })
    }
}

/// TLS of this system, with the certificates that the user names or else the usual ones.
fn tls() -> Result<TlsConfig> {
    let native = cfg!(any(windows, target_vendor = "apple"));
    let roots = match env::var_os("SSL_CERT_FILE").filter(|path| !path.is_empty()) {
        Some(path) => {
            let name = format!("SSL_CERT_FILE, {}", path.display());
            let pem = fs::read(&path).with_context(|| format!("cannot read {name}"))?;
            let certificates: Vec<Certificate<'static>> = parse_pem(&pem)
                .filter_map(|item| match item {
                    Ok(PemItem::Certificate(certificate)) => Some(Ok(certificate)),
                    Ok(_) => None,
                    Err(error) => Some(Err(error)),
                })
                .collect::<Result<_, _>>()
                .with_context(|| name.clone())?;
            if certificates.is_empty() {
                bail!("{name}: has no certificates");
            }
            RootCerts::from(certificates)
        }
        None if native => RootCerts::PlatformVerifier,
        None => RootCerts::WebPki,
    };
    let provider = if native { TlsProvider::NativeTls } else { TlsProvider::Rustls };
    Ok(TlsConfig::builder().provider(provider).root_certs(roots).build())
}

/// Whom a token is for.
#[derive(Debug, PartialEq, Eq)]
struct Origin {
    https: bool,
    host: String,
    port: u16,
}

impl Origin {
    fn of(uri: &Uri) -> Option<Self> {
        let https = match uri.scheme_str()? {
            "https" => true,
            "http" => false,
            _ => return None,
        };
        let port = uri.port_u16().unwrap_or(if https { 443 } else { 80 });
        Some(Self { https, host: uri.host()?.to_ascii_lowercase(), port })
    }
}

/// The server that a URL is of, for people.
fn host(url: &Uri) -> String {
    let (scheme, authority) = (url.scheme_str(), url.authority());
    // What stands before the @ is nobody's business.
    let authority =
        authority.map(|authority| authority.as_str().rsplit('@').next().unwrap_or_default());
    format!("{}://{}", scheme.unwrap_or_default(), authority.unwrap_or_default())
}

/// The proxy that the environment names for a URL, without its password.
fn proxy_of(url: &Uri) -> Option<String> {
    let proxy = Proxy::try_from_env().filter(|proxy| !proxy.is_no_proxy(url))?;
    Some(host(proxy.uri()))
}

/// Where a redirection leads.
fn next(from: &Uri, headers: &HeaderMap) -> Result<Uri> {
    let location = text(headers, "location");
    let location = location.with_context(|| format!("{} redirects to nowhere", host(from)))?;
    let to = if location.starts_with("http://") || location.starts_with("https://") {
        location.to_owned()
    } else if let Some(rest) = location.strip_prefix("//") {
        format!("{}://{rest}", from.scheme_str().unwrap_or("https"))
    } else if location.starts_with('/') {
        format!("{}{location}", host(from))
    } else {
        let folder = from.path().rsplit_once('/').map_or("", |(folder, _)| folder);
        format!("{}{folder}/{location}", host(from))
    };
    let parsed = to.parse();
    let to: Uri =
        parsed.with_context(|| format!("{} redirects to {}", host(from), without_secrets(&to)))?;
    if from.scheme_str() == Some("https") && to.scheme_str() != Some("https") {
        bail!("{} redirects to {}, which is not encrypted", host(from), host(&to));
    }
    Ok(to)
}

/// A header's text.
pub(super) fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// A tag without its quotes.
fn bare(etag: &str) -> String {
    etag.trim_start_matches("W/").trim_matches('"').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redirected(from: &str, to: &str) -> Result<String> {
        let mut headers = HeaderMap::new();
        headers.insert("location", to.parse().unwrap());
        Ok(next(&from.parse().unwrap(), &headers)?.to_string())
    }

    #[test]
    fn redirections_are_absolute_or_relative() {
        for (to, leads) in [
            ("https://b/c?d=%20e", "https://b/c?d=%20e"),
            ("//b/c", "https://b/c"),
            ("/c", "https://a:1/c"),
            ("c", "https://a:1/x/c"),
        ] {
            assert_eq!(redirected("https://a:1/x/y?z", to).unwrap(), leads);
        }
        let error = redirected("https://a/x", "http://a/x").unwrap_err().to_string();
        assert!(error.contains("not encrypted"), "{error}");
        assert!(redirected("http://a/x", "http://b/x").is_ok());
    }

    #[test]
    fn an_origin_is_scheme_host_and_port() {
        let origin = |url: &str| Origin::of(&url.parse().unwrap());
        assert_eq!(origin("https://A/x"), origin("https://a:443/y"));
        for other in ["http://a/", "https://a:444/", "https://a.b/", "https://b/"] {
            assert_ne!(origin("https://a/"), origin(other), "{other}");
        }
        assert_eq!(host(&"https://user:secret@a:1/x".parse().unwrap()), "https://a:1");
    }
}
