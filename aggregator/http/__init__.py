"""The one HTTP client: downloads, pings and streams speak to other people's servers through it."""
