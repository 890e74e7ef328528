"""HTTP/1.1 over asyncio's streams: one exchange a connection, everything bounded in size and time."""
