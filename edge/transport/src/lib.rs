//! Sockets to cores: TLS, DNS sockets and doorbells on glommio
