//! The HTTP endpoints for Prometheus and load balancers: `/metrics`, `/healthz` and `/readyz`.

use std::borrow::Cow;
use std::fmt::Debug;
use std::sync::Arc;

use super::families::{Exposition, Family, exposition};
use crate::service::http::{Content, Handler, Request, Status};

/// The source of metrics.
pub(crate) trait MetricsSource: Debug + Send + Sync {
    /// Returns all current metrics.
    fn families(&self) -> Vec<Family>;
    /// Returns why the server should get no connections now, or `None` if it is ready.
    fn not_ready(&self) -> Option<Cow<'static, str>>;
}

#[derive(Debug)]
pub(crate) struct MetricsEndpoint {
    source: Arc<dyn MetricsSource>,
    index: Content,
    healthy: Content,
    missing: Content,
    other_method: Content,
}

impl MetricsEndpoint {
    pub(crate) fn new(source: Arc<dyn MetricsSource>) -> Self {
        let index = "tfo-server\n\n\
            /metrics   for Prometheus (OpenMetrics)\n\
            /healthz   200: the process is serving\n\
            /readyz    200: ready for connections; 503: not ready";
        Self {
            source,
            index: Content::line(Status::Ok, index),
            healthy: Content::line(Status::Ok, "ok").uncached(),
            missing: Content::line(
                Status::NotFound,
                "not found; try /metrics, /healthz or /readyz",
            ),
            other_method: Content::line(Status::MethodNotAllowed, "allowed methods: GET, HEAD"),
        }
    }
}

impl Handler for MetricsEndpoint {
    fn answer(&self, request: &Request<'_>) -> Cow<'_, Content> {
        match request.path {
            _ if request.other_method => Cow::Borrowed(&self.other_method),
            "/" => Cow::Borrowed(&self.index),
            "/healthz" => Cow::Borrowed(&self.healthy),
            "/readyz" => {
                let answer = match self.source.not_ready() {
                    None => Content::line(Status::Ok, "ready"),
                    Some(why) => Content::line(Status::ServiceUnavailable, &why),
                };
                Cow::Owned(answer.uncached())
            }
            "/metrics" => {
                let format = format(request.accept);
                let text = exposition(&self.source.families(), format);
                let answer = Content::new(Status::Ok, format.content_type(), text.into_bytes());
                Cow::Owned(answer.uncached())
            }
            _ => Cow::Borrowed(&self.missing),
        }
    }
}

/// Returns OpenMetrics, unless the client accepts only the older format.
fn format(accept: &[u8]) -> Exposition {
    let names =
        |word: &[u8]| accept.windows(word.len()).any(|part| part.eq_ignore_ascii_case(word));
    if names(b"text/plain") && !names(b"application/openmetrics-text") {
        Exposition::Text
    } else {
        Exposition::OpenMetrics
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;
    use crate::service::http::Date;
    use crate::service::http_session::{AnswerTerms, Http};
    use crate::service::{SessionAction, SessionOutput};

    #[derive(Debug)]
    struct Draining(bool);

    impl MetricsSource for Draining {
        fn families(&self) -> Vec<Family> {
            vec![Family::counter("a", "What.").with(vec![], 7)]
        }

        fn not_ready(&self) -> Option<Cow<'static, str>> {
            self.0.then_some("draining".into())
        }
    }

    fn get(path: &str, field: &str, draining: bool) -> String {
        let metrics = MetricsEndpoint::new(Arc::new(Draining(draining)));
        let (mut http, mut out) = (Http::new(), SessionOutput::default());
        let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\n{field}\r\n");
        let terms = AnswerTerms { date: &Date::new(UNIX_EPOCH), ending: false, buffer: 64 * 1024 };
        let next = http.answer(request.as_bytes(), &mut out, &metrics, terms);
        assert_eq!(next, SessionAction::Read, "{path}");
        String::from_utf8(out.bytes).unwrap()
    }

    #[test]
    fn each_path_has_its_answer() {
        for (path, status) in [
            ("/", "200"),
            ("/healthz", "200"),
            ("/readyz", "200"),
            ("/readyz?verbose", "200"),
            ("/metrics", "200"),
            ("/metric", "404"),
            ("/metrics/", "404"),
        ] {
            assert!(get(path, "", false).starts_with(&format!("HTTP/1.1 {status} ")), "{path}");
        }
        let draining = get("/readyz", "", true);
        assert!(draining.starts_with("HTTP/1.1 503 "), "{draining}");
        assert!(draining.ends_with("\r\n\r\ndraining\n"), "{draining}");
        assert!(
            get("/healthz", "", true).starts_with("HTTP/1.1 200 "),
            "a draining server is healthy"
        );
    }

    #[test]
    fn accept_field_chooses_the_format() {
        let open = "application/openmetrics-text; version=1.0.0; charset=utf-8\r\n";
        let prometheus = "Accept: application/openmetrics-text;version=1.0.0,text/plain;q=0.5\r\n";
        for field in ["", "Accept: */*\r\n", prometheus] {
            let answer = get("/metrics", field, false);
            assert!(answer.contains(&format!("Content-Type: {open}")), "{answer}");
            assert!(answer.ends_with("a_total 7\n# EOF\n"), "{answer}");
        }
        let answer = get("/metrics", "Accept: Text/plain\r\n", false);
        assert!(answer.contains("Content-Type: text/plain; version=0.0.4;"), "{answer}");
        assert!(answer.ends_with("a_total 7\n"), "{answer}");
    }
}
