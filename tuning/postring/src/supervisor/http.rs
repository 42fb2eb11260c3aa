//! Status page and metrics over HTTP, read only, on a thread of its own.

use super::children::Note;
use super::sockets;
use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use std::net::SocketAddr;
use std::sync::mpsc::{self, Sender};
use std::time::Duration;

const PAGE: &str = include_str!("status.html");

/// Serves until the process ends.
pub fn serve(addresses: &[SocketAddr], notes: Sender<Note>) -> Result<(), String> {
    if addresses.is_empty() {
        return Ok(());
    }
    let mut listeners = Vec::new();
    for &address in addresses {
        let listener = std::net::TcpListener::bind(address).map_err(|error| sockets::explain("listen.http", address, &error))?;
        listener.set_nonblocking(true).map_err(|error| error.to_string())?;
        listeners.push(listener);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| error.to_string())?;
    std::thread::Builder::new()
        .name("http".to_owned())
        .spawn(move || {
            runtime.block_on(async move {
                let mut servers = Vec::new();
                for listener in listeners {
                    let (status, metrics) = (notes.clone(), notes.clone());
                    let router = axum::Router::new()
                        .route("/", get(|| async { Html(PAGE) }))
                        .route("/api/status", get(move || answer(status.clone(), "status", "application/json")))
                        .route("/metrics", get(move || answer(metrics.clone(), "metrics", "text/plain; version=0.0.4")));
                    match tokio::net::TcpListener::from_std(listener) {
                        Ok(listener) => servers.push(tokio::spawn(async move { axum::serve(listener, router).await })),
                        Err(error) => tracing::error!("listen.http: {error}"),
                    }
                }
                for server in servers {
                    // Ends only by an error of the listener, which has been logged.
                    let _ = server.await;
                }
            });
        })
        .map_err(|error| error.to_string())?;
    Ok(())
}

async fn answer(notes: Sender<Note>, word: &'static str, content_type: &'static str) -> Response {
    let asked = tokio::task::spawn_blocking(move || {
        let (answer, receiver) = mpsc::sync_channel(1);
        notes.send(Note::Ask { words: vec![word.to_owned()], answer }).ok()?;
        receiver.recv_timeout(Duration::from_secs(5)).ok()?.ok()
    });
    match asked.await {
        Ok(Some(serde_json::Value::String(text))) => ([(header::CONTENT_TYPE, content_type)], text).into_response(),
        Ok(Some(value)) => ([(header::CONTENT_TYPE, content_type)], value.to_string()).into_response(),
        _ => (StatusCode::SERVICE_UNAVAILABLE, "the supervisor did not answer\n").into_response(),
    }
}
