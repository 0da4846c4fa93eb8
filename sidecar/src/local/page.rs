//! `/__fleetgate/metrics`: the counters for Prometheus. Nobody is asked for it, so a scrape costs nothing.

use super::Sidecar;
use crate::VERSION;
use crate::metrics::{Counter, Gauge, Page};

/// The whole page.
pub(super) fn render(sidecar: &Sidecar) -> String {
    let metrics = &sidecar.metrics;
    let mut page = Page::default();
    let host = sidecar.keys.current().label.to_string();
    let labels = [("version", VERSION), ("host", host.as_str())];
    page.gauge("fleetgate_sidecar_info", "This sidecar.", &labels, 1);
    let help = "When it started, in seconds since 1970.";
    page.gauge("fleetgate_sidecar_start_time_seconds", help, &[], metrics.started_at());

    gauge(
        &mut page,
        ("fleetgate_sidecar_connections_total", "Connections of clients."),
        ("fleetgate_sidecar_connections_open", "Connections of clients that are open."),
        &metrics.connections,
    );
    gauge(
        &mut page,
        ("fleetgate_sidecar_calls_total", "API calls for the gateway."),
        ("fleetgate_sidecar_calls_open", "API calls under way."),
        &metrics.calls,
    );
    gauge(
        &mut page,
        ("fleetgate_sidecar_tunnels_total", "CONNECT tunnels that were asked for."),
        ("fleetgate_sidecar_tunnels_open", "CONNECT tunnels that are open."),
        &metrics.tunnels,
    );
    let bytes: [(_, _, &Counter); 4] = [
        ("calls", "up", &metrics.call_bytes_up),
        ("calls", "down", &metrics.call_bytes_down),
        ("tunnels", "up", &metrics.tunnel_bytes_up),
        ("tunnels", "down", &metrics.tunnel_bytes_down),
    ];
    for (of, way, counter) in bytes {
        let help = "Bytes of bodies and tunnels, without heads.";
        page.counter("fleetgate_sidecar_bytes_total", help, &[("of", of), ("way", way)], counter.get());
    }
    let help = "Calls sent again because the gateway had not begun them.";
    page.counter("fleetgate_sidecar_retries_total", help, &[], metrics.retries.get());
    let help = "Calls and tunnels that waited for a gateway to come back.";
    page.counter("fleetgate_sidecar_waits_total", help, &[], metrics.waits.get());
    for (reason, count) in metrics.errors() {
        let help = "Requests that the sidecar itself refused.";
        page.counter("fleetgate_sidecar_errors_total", help, &[("reason", reason)], count);
    }

    let states = sidecar.gateway.states();
    for state in &states {
        let help = "Whether the last attempt to reach the gateway succeeded.";
        let up = u8::from(state.state == "up");
        page.gauge("fleetgate_sidecar_gateway_up", help, &[("gateway", &state.url)], up);
    }
    for state in &states {
        let help = "Whether the next call goes there.";
        page.gauge("fleetgate_sidecar_gateway_in_use", help, &[("gateway", &state.url)], u8::from(state.is_in_use));
    }
    for state in &states {
        let help = "Connections to the gateway that were attempted.";
        page.counter("fleetgate_sidecar_gateway_dials_total", help, &[("gateway", &state.url)], state.dials);
    }
    for state in &states {
        let help = "Connections to the gateway that did not come about.";
        let name = "fleetgate_sidecar_gateway_failed_dials_total";
        page.counter(name, help, &[("gateway", &state.url)], state.failed_dials);
    }
    for state in &states {
        let help = "Connections that wait for the next call.";
        let name = "fleetgate_sidecar_gateway_idle_connections";
        page.gauge(name, help, &[("gateway", &state.url)], state.idle_connections);
    }
    page.finish()
}

fn gauge(page: &mut Page, total: (&'static str, &str), open: (&'static str, &str), gauge: &Gauge) {
    let reading = gauge.read();
    page.counter(total.0, total.1, &[], reading.total);
    page.gauge(open.0, open.1, &[], reading.open);
}
