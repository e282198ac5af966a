//! `/openapi.json`: what the server takes and answers, kept by hand.

use axum::body::Body;
use axum::http::{HeaderValue, Response, header};

pub(crate) const DOCUMENT: &str = include_str!("openapi.json");

pub(super) async fn document() -> Response<Body> {
    let mut response = Response::new(Body::from(DOCUMENT));
    let kind = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::DOCUMENT;

    /// Addresses that are files of the page.
    const FILES: [&str; 2] = ["/", "/page/{file}"];

    #[test]
    fn the_document_has_every_address_and_no_other() {
        let document: Value = serde_json::from_str(DOCUMENT).unwrap();
        let mut told = Vec::new();
        for (path, methods) in document["paths"].as_object().unwrap() {
            for method in methods.as_object().unwrap().keys().filter(|key| *key != "parameters") {
                told.push(format!("{method} {path}"));
            }
        }
        told.sort();
        // As the router has them.
        let source: String = include_str!("mod.rs").split_whitespace().collect();
        let mut served = Vec::new();
        for route in source.split(".route(\"").skip(1) {
            let (path, rest) = route.split_once('"').unwrap();
            let handlers = rest.split(".route(").next().unwrap().split(".fallback").next().unwrap();
            for method in ["get", "put", "post", "delete"] {
                if handlers.contains(&format!("{method}(")) && !FILES.contains(&path) {
                    served.push(format!("{method} {path}"));
                }
            }
        }
        served.sort();
        assert_eq!(told, served);
        assert!(served.len() > 20, "{served:?}");
    }

    #[test]
    fn what_is_referred_to_is_there() {
        let document: Value = serde_json::from_str(DOCUMENT).unwrap();
        let references: Vec<&str> = DOCUMENT.split("\"#").skip(1).collect();
        assert!(!references.is_empty());
        for reference in references {
            let pointer = reference.split('"').next().unwrap();
            assert!(document.pointer(pointer).is_some(), "{pointer}");
        }
    }
}
