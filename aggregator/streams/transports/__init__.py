"""How a stream's bytes become messages: lines of JSON, and Server-Sent Events."""
