//! Traces by OpenTelemetry, in builds with the feature `otel`: spans of requests and of what they ask of the stores, sent
//! as OTLP over HTTP where `OTEL_EXPORTER_OTLP_ENDPOINT` says (http://127.0.0.1:4318). Set up by `logging`, ended by `cli`.
//! Invariant: without that variable nothing is recorded, and a collector that is away costs no request anything.

use std::error::Error;
use std::sync::OnceLock;

use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::{OTEL_EXPORTER_OTLP_ENDPOINT, SpanExporter};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing::Subscriber;
use tracing_subscriber::Layer;
use tracing_subscriber::registry::LookupSpan;

/// Unless `OTEL_SERVICE_NAME` says otherwise.
const SERVICE: &str = "slotcast";

static PROVIDER: OnceLock<SdkTracerProvider> = OnceLock::new();

/// Hands on spans; `None` where nobody wants them. To be called outside of the runtime: the exporter has a thread.
pub(super) fn layer<S>() -> Result<Option<impl Layer<S>>, Box<dyn Error + Send + Sync>>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    if std::env::var_os(OTEL_EXPORTER_OTLP_ENDPOINT).is_none() {
        return Ok(None);
    }
    let exporter = SpanExporter::builder().with_http().build()?;
    let resource = match std::env::var_os("OTEL_SERVICE_NAME") {
        Some(_) => Resource::builder(),
        None => Resource::builder().with_service_name(SERVICE),
    };
    let provider =
        SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource.build()).build();
    let tracer = provider.tracer(SERVICE);
    // A second log of this process hands its spans to the first one's provider; there is none outside of tests.
    let _ = PROVIDER.set(provider);
    Ok(Some(tracing_opentelemetry::layer().with_tracer(tracer)))
}

/// Sends what waits.
pub(crate) fn end() {
    if let Some(Err(error)) = PROVIDER.get().map(SdkTracerProvider::shutdown) {
        tracing::warn!(event = "traces_unsent", error = %error);
    }
}
