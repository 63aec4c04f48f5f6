//! `/metrics`: metrics in Prometheus' format. With `?format=pm2` they have the names of PM2's
//! exporter, so that existing dashboards keep working.

use hyper::header::{ACCEPT, CONTENT_TYPE, HeaderValue};
use hyper::{Response, StatusCode};

use crate::access::Identity;
use crate::http::reply::{Body, full};
use crate::metrics::scrape::AppFigures;
use crate::metrics::{Format, pm2_text, text};
use crate::site::{ClientRequest, Site};

pub(super) async fn answer(site: &Site, request: &ClientRequest, identity: &Identity) -> Response<Body> {
    let all = site.daemon.refresh_table().await;
    let mut snapshot = (*all).clone();
    snapshot.rows.retain(|row| identity.sees(&row.namespace));
    let accept = request.head.headers.get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let format = if accept.contains("application/openmetrics-text") { Format::OpenMetrics } else { Format::Text };
    let is_pm2 = request.head.uri.query().is_some_and(|query| query.split('&').any(|pair| pair == "format=pm2"));
    let text = if is_pm2 {
        pm2_text(&snapshot, format)
    } else {
        let apps = site.scraper.collect(&all).await;
        let apps: Vec<&AppFigures> = apps.iter().filter(|app| identity.sees(&app.namespace)).collect();
        text(&snapshot, &apps, identity.sees_all(), format)
    };
    let mut response = full(StatusCode::OK, "text/plain", text);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(format.media_type()));
    response
}
