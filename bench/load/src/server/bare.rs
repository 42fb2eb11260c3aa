//! The least a server can do to refuse a client: this program's own loop that accepts, sends a line and closes.

use super::{Place, Server};
use crate::volume::Volume;

impl Server {
    pub fn bare_refusal(place: Place) -> Result<Self, String> {
        let program = std::env::current_exe().map_err(|error| error.to_string())?;
        let mut server = Self::on(Volume::plain, "bare loop", place.port, place.cores, place.makeshift)?;
        server.start(&format!("{} bare-refusal --listen 127.0.0.1:{}", program.display(), place.port))?;
        server.wait_port()?;
        Ok(server)
    }
}
